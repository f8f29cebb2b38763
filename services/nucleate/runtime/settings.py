"""Settings every process reads from its environment, prefix `NUCLEATE_`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from nucleate.errors import InvalidInput

PREFIX = "NUCLEATE_"


def _local_store() -> str:
    return (Path.cwd() / ".nucleate" / "store").as_uri()


class Settings(BaseSettings):
    """What is read from the environment.

    Raises:
        InvalidInput: a variable cannot be read; its value, which may be a secret, is not shown.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults = (f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
            raise InvalidInput(f"settings cannot be read: {'; '.join(faults)}") from None


class StoreSettings(Settings):
    """Where bytes are kept. Keys have no default: an S3 store without them is refused."""

    store: str = Field(default_factory=_local_store, description='"file:///abs/folder", "memory:" or "s3://bucket"')
    s3_endpoint: str = Field(default="", description='"host:port" of the S3 server, without a scheme')
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_secure: bool = Field(default=True, description="TLS to the S3 server")
    s3_region: str = "us-east-1"


class ChannelSettings(Settings):
    """How a service is called."""

    tls: bool = Field(default=False, description="speak TLS to the services; `tls_ca` implies it")
    tls_ca: Path | None = Field(default=None, description="PEM: who signs the services' certificates; none = the system's list")
    token: SecretStr = Field(
        default=SecretStr(""), description="shared by services and callers; empty = nobody is asked for one"
    )


class ServiceSettings(StoreSettings, ChannelSettings):
    """Settings of every service; a service adds its own fields in a subclass."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free port")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free port")
    port_file: Path | None = Field(default=None, description="the bound port is written here once serving")
    tls_cert: Path | None = Field(default=None, description="PEM: the certificate, and those between it and the authority")
    tls_key: Path | None = Field(default=None, description="PEM: its private key, not encrypted")
    rpc_threads: int = Field(default=16, ge=16, description="calls served at once; up to 12 of them may watch jobs")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    log_json: bool = True
    threads: int = Field(default=0, ge=0, description="compute threads; 0 takes all cores")
    device: str = Field(default="auto", description='"auto", "cpu" or "cuda"')
    curves: Path | None = Field(default=None, description="folder for TensorBoard files of what jobs report; none = no files")
    drain_seconds: float = Field(default=10.0, ge=0)

    @property
    def compute_threads(self) -> int:
        """Threads to compute with: `threads`, or one per core that this process may use."""
        return self.threads or len(os.sched_getaffinity(0))
