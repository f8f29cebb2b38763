"""Settings every process reads from its environment, prefix `NUCLEATE_`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _local_store() -> str:
    return (Path.cwd() / ".nucleate" / "store").as_uri()


class StoreSettings(BaseSettings):
    """Where bytes are kept. Keys have no default: an S3 store without them is refused."""

    model_config = SettingsConfigDict(env_prefix="NUCLEATE_", extra="ignore", frozen=True)

    store: str = Field(default_factory=_local_store, description='"file:///abs/folder", "memory:" or "s3://bucket"')
    s3_endpoint: str = Field(default="", description='"host:port" of the S3 server, without a scheme')
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_secure: bool = Field(default=True, description="TLS to the S3 server")
    s3_region: str = "us-east-1"


class ServiceSettings(StoreSettings):
    """What every service can be told; a service adds its own fields in a subclass."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free port")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free port")
    port_file: Path | None = Field(default=None, description="the bound port is written here once serving")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    log_json: bool = True
    threads: int = Field(default=0, ge=0, description="compute threads; 0 takes all cores")
    device: str = Field(default="auto", description='"auto", "cpu" or "cuda"')
    drain_seconds: float = Field(default=10.0, ge=0)
