"""TLS and token of both clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.certificates import self_signed
from tests.unit.client.scripted import Scripted, serving
from tests.unit.client.surfaces import IMAGE, Service, connect

from nucleate import errors


class TestSecurity:
    def test_token_and_tls(self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        pair, servicer = self_signed(tmp_path), Scripted()
        with serving(tmp_path, servicer, tls_cert=pair.cert, tls_key=pair.key, token="sesame") as server:

            def attempt(**security: Any) -> int:
                with connect(service.surface, server.endpoint, timeout=5, **security) as client:
                    assert "sesame" not in repr(client)
                    with client.open(IMAGE) as session:
                        return session.click(5, 5).object_id

            assert attempt(ca=pair.cert, token="sesame") == 1
            with pytest.raises(errors.Unauthenticated, match="does not know that token"):
                attempt(ca=str(pair.cert), token="wrong")
            with pytest.raises(errors.Unauthenticated, match="asks for a token"):
                attempt(ca=pair.cert)
            with pytest.raises(errors.Precondition, match="no known authority signed"):
                attempt(tls=True, token="sesame")
            monkeypatch.setattr("nucleate.client.interactive.retries.UNREACHED_RETRY_S", 0.3)
            with pytest.raises(errors.Unreachable, match="if it speaks TLS"):
                attempt(token="sesame")
            monkeypatch.setenv("NUCLEATE_TLS_CA", str(pair.cert))
            monkeypatch.setenv("NUCLEATE_TOKEN", "sesame")
            monkeypatch.setenv("NUCLEATE_ENDPOINT_INTERACTIVE", server.endpoint)
            assert attempt() == 1
            with connect(service.surface) as client:
                assert client.open(IMAGE).click(5, 5).object_id == 1
            with pytest.raises(errors.Unauthenticated):
                attempt(token="")
        with service.connect() as client, pytest.raises(errors.Precondition, match="does not speak TLS"):
            client.open(IMAGE)
        with service.connect(tls=False) as client:
            assert client.open(IMAGE).click(5, 5).object_id == 1
