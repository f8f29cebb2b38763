"""Any S3 server as an object store, through the MinIO client."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError, ReadTimeoutError, SSLError

from nucleate.errors import InvalidInput, NotFound, StoreUnreachable
from nucleate.runtime.store.keys import check_key, check_prefix
from nucleate.runtime.store.protocol import OCTETS

if TYPE_CHECKING:
    from nucleate.runtime.settings import StoreSettings

CONNECT_SECONDS = 3.0
READ_SECONDS = 20.0  # between two packets; SeaweedFS lets losers of a race wait for up to 9 s
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken"}
_RETRIES = urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
# A conditional write whose answer was lost must not be sent again: it would lose against itself.
_NO_RETRY = urllib3.Retry(total=2, connect=2, read=0, status=0, other=0, backoff_factor=0.2)


def s3_client(settings: StoreSettings) -> Minio:
    """Build the client: bounded waits, few retries, and no request for the region. Raise `InvalidInput` if keys are missing."""
    secret = settings.s3_secret_key.get_secret_value()
    wanted = {"S3_ENDPOINT": settings.s3_endpoint, "S3_ACCESS_KEY": settings.s3_access_key, "S3_SECRET_KEY": secret}
    missing = [f"NUCLEATE_{name}" for name, value in wanted.items() if not value]
    if missing:
        raise InvalidInput(f"an S3 store needs {', '.join(missing)}: set the environment")
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    pool = urllib3.PoolManager(timeout=timeout, retries=_RETRIES, maxsize=16)
    try:
        return Minio(
            settings.s3_endpoint,
            access_key=settings.s3_access_key,
            secret_key=secret,
            secure=settings.s3_secure,
            region=settings.s3_region,
            http_client=pool,
        )
    except ValueError as error:
        raise InvalidInput(f"NUCLEATE_S3_ENDPOINT '{settings.s3_endpoint}' is not host:port: {error}") from None


class S3Store:
    """Objects in one bucket, which is created if it is absent."""

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), maxsize=16)
        try:
            parts = urllib3.util.parse_url(client.get_presigned_url("GET", bucket, "x"))
        except ValueError:
            raise InvalidInput(f"'{bucket}' is no bucket name: use 3 to 63 lower-case letters, digits and -") from None
        self.endpoint = f"{parts.scheme}://{parts.netloc}/{bucket}"
        with self._domain_errors():
            if not client.bucket_exists(bucket):
                self._create_bucket()

    def put(self, key: str, data: bytes, media_type: str = OCTETS) -> None:
        """Write or overwrite one object; S3 makes it visible whole."""
        with self._domain_errors(check_key(key)):
            self._client.put_object(self._bucket, key, io.BytesIO(data), len(data), content_type=media_type)

    def put_new(self, key: str, data: bytes, media_type: str = OCTETS) -> bool:
        """Write only if the key is free, by `If-None-Match: *`; False means that it was taken."""
        check_key(key)
        headers = {"If-None-Match": "*", "Content-Type": media_type}
        with self._domain_errors(key):
            # The client turns extra headers of put_object into x-amz-meta-*, so the condition goes on a presigned URL.
            url = self._client.get_presigned_url("PUT", self._bucket, key, expires=timedelta(minutes=10))
            for _ in range(4):
                response = self._http.request("PUT", url, body=data, headers=headers, retries=_NO_RETRY)
                if response.status != 409:
                    break
            if response.status == 200:
                return True
            if response.status == 412:
                return False
            error = S3Error.fromxml(response) if response.data[:1] == b"<" else None
            raise error or ServerError(f"HTTP status {response.status}", response.status)

    def get(self, key: str) -> bytes:
        """Return the object's bytes; raise `NotFound` if there is none."""
        with self._domain_errors(check_key(key)):
            response = self._client.get_object(self._bucket, key)
            try:
                data: bytes = response.read()
            finally:
                response.close()
                response.release_conn()
            return data

    def put_file(self, key: str, path: Path, media_type: str = OCTETS) -> None:
        """Write or overwrite one object from a file, in parts of 5 MiB or more."""
        with self._domain_errors(check_key(key)):
            self._client.fput_object(self._bucket, key, str(path), content_type=media_type)

    def get_file(self, key: str, path: Path) -> None:
        """Write the object's bytes to a file; raise `NotFound` if there is none."""
        with self._domain_errors(check_key(key)):
            self._client.fget_object(self._bucket, key, str(path))

    def exists(self, key: str) -> bool:
        """Tell whether an object is stored under that key."""
        try:
            with self._domain_errors(check_key(key)):
                self._client.stat_object(self._bucket, key)
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        check_prefix(prefix)
        with self._domain_errors():
            found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
            return iter(sorted(item.object_name for item in found))

    def delete(self, key: str) -> None:
        """Remove the object; do nothing if there is none."""
        with self._domain_errors(check_key(key)), contextlib.suppress(NotFound):
            self._client.remove_object(self._bucket, key)

    def _create_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:  # another process was first
                raise

    @contextlib.contextmanager
    def _domain_errors(self, key: str = "") -> Iterator[None]:
        """Turn the client's errors into domain errors that name the endpoint and the cause."""
        try:
            yield
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise NotFound(f"no object '{key}' in {self.endpoint}") from None
            if error.code in _REFUSED:
                raise StoreUnreachable(f"object store {self.endpoint} refused the credentials ({error.code})") from None
            raise StoreUnreachable(f"object store {self.endpoint} failed: {error.code}") from error
        except InvalidResponseError as error:
            raise StoreUnreachable(f"{self.endpoint} does not answer like an S3 server; check the endpoint and TLS") from error
        except MaxRetryError as error:
            raise StoreUnreachable(f"object store {self.endpoint} cannot be reached: {_cause(error)}") from error
        except (MinioException, HTTPError) as error:
            raise StoreUnreachable(f"object store {self.endpoint} failed: {type(error).__name__}") from error


def _cause(error: MaxRetryError) -> str:
    """Name the reason in words, without the addresses of Python objects that urllib3 prints."""
    reason = error.reason
    if isinstance(reason, SSLError):
        return "no TLS connection could be made; set NUCLEATE_S3_SECURE=false if the server has none, or trust its certificate"
    if isinstance(reason, ConnectTimeoutError | ReadTimeoutError) and not isinstance(reason, NewConnectionError):
        return "it timed out"
    return str(reason).rsplit(": ", 1)[-1] if reason else "no answer"
