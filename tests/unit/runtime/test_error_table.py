"""One table, both directions."""

from __future__ import annotations

import grpc
import pytest

from nucleate import errors
from nucleate.runtime.error_table import (
    TABLE,
    Internal,
    error_named,
    exit_code,
    rpc_error_to_domain,
    status_of,
    trailing_metadata_of,
)


class Failed(grpc.RpcError, grpc.Call):
    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple = ()) -> None:
        self._answer = (code, details, trailing)

    def code(self):
        return self._answer[0]

    def details(self):
        return self._answer[1]

    def trailing_metadata(self):
        return self._answer[2]

    add_callback = cancel = initial_metadata = is_active = time_remaining = None


def test_every_direct_subclass_has_its_own_code_and_exit_code() -> None:
    catalogue = {each for each in errors.NucleateError.__subclasses__() if each.__module__ == errors.__name__}
    assert set(TABLE) == catalogue
    codes, exits = zip(*TABLE.values(), strict=True)
    assert len(set(codes)) == len(set(exits)) == len(TABLE)
    assert not {0, 1} & set(exits)
    assert exit_code(errors.UnknownProfile("x", ["a"])) == 2
    assert exit_code(KeyError()) == 1


@pytest.mark.parametrize("domain", TABLE)
def test_a_code_alone_gives_the_table_s_class_back(domain: type[errors.NucleateError]) -> None:
    code, message = status_of(domain("one line"))
    back = rpc_error_to_domain(Failed(code, message))
    assert (type(back), str(back)) == (domain, "one line")


def test_named_classes_come_back_and_strangers_do_not() -> None:
    trailing = (("nucleate-error", "SessionConflict"),)
    assert type(rpc_error_to_domain(Failed(grpc.StatusCode.ABORTED, "moved on", trailing))) is errors.SessionConflict
    assert str(error_named("UnknownProfile", "as told")) == "as told"
    assert error_named("SystemExit", "x") is None
    assert type(rpc_error_to_domain(Failed(grpc.StatusCode.ABORTED, "x", (("nucleate-error", "os"),)))) is errors.Aborted
    assert type(rpc_error_to_domain(Failed(grpc.StatusCode.DEADLINE_EXCEEDED, ""))) is errors.Unreachable
    assert type(rpc_error_to_domain(Failed(grpc.StatusCode.UNIMPLEMENTED, ""))) is errors.Precondition
    assert type(rpc_error_to_domain(Failed(grpc.StatusCode.INTERNAL, "ref"))) is errors.NucleateError


def test_other_errors_are_hidden_and_keep_one_reference() -> None:
    code, message = status_of(ValueError("password hunter2"))
    assert code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in message
    assert status_of(Internal("abc")) == (grpc.StatusCode.INTERNAL, str(Internal("abc")))


def test_overload_comes_back_with_its_hint() -> None:
    raised = errors.Overloaded("32 sessions are open", retry_after=0.25)
    back = rpc_error_to_domain(Failed(*status_of(raised), trailing_metadata_of(raised)))
    assert isinstance(back, errors.Overloaded)
    assert (str(back), back.retry_after) == ("32 sessions are open", 0.25)
    without = rpc_error_to_domain(Failed(*status_of(raised), (("nucleate-error", "Overloaded"),)))
    assert isinstance(without, errors.Overloaded)
    assert without.retry_after == 1.0
