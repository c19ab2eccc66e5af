"""The vault: immutable files by the SHA-256 of their bytes, in a local folder or on an S3 server.

Owns the two adapters of `compute.ports.Vault`. It never opens a file's content and knows no dataset. Law 8: what is fetched
is checked against its digest before anybody reads it; law 10: a damaged object is an error, never a warning. Nothing is
changed or deleted: an object appears whole, by one rename or one S3 put, or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from privacy.errors import Fault, Text, Unavailable

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 4 * 1024 * 1024
_ABSENT = ("NoSuchKey", "NoSuchObject", "ResourceNotFound")

Seen = tuple[int, int, int, int]


class ObjectMissing(Fault):
    """The vault holds no object of that digest."""

    code = "vault.missing"
    sentence = Text("The vault holds no object {digest}.", "保管库中没有对象 {digest}。")
    hint = Text(
        "For the operator: restore it from a backup, or ask the steward to make a new version.",
        "运营方：请从备份恢复，或请数据提供方生成新版本。",
    )


class ObjectDamaged(Fault):
    """The stored bytes do not have the digest they are stored under."""

    code = "vault.damaged"
    sentence = Text("The object {digest} in the vault is damaged.", "保管库中的对象 {digest} 已损坏。")
    hint = Text(
        "For the operator: find out who or what changed it, then restore it from a backup.",
        "运营方：请查明被何人或何故更改，然后从备份恢复。",
    )


class VaultUnavailable(Unavailable):
    """The S3 server does not answer, or refuses us."""

    code = "vault.unavailable"
    sentence = Text("The vault cannot be reached.", "无法连接保管库。")
    hint = Text("Try again later; the operator finds the reason in the log.", "请稍后重试；运营方可在日志中查看原因。")


def digest_of(path: Path) -> str:
    """SHA-256 of the file's bytes, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LocalVault:
    """Objects as read-only files `ab/ab12…` of one folder, on one machine.

    A file is hashed when this process first fetches it and again whenever its size, times or inode have changed since.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._verified: dict[str, Seen] = {}
        self._turn = threading.Lock()

    def put(self, source: Path) -> str:
        """See `compute.ports.Vault.put`."""
        (self._folder / "drafts").mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / "drafts" / secrets.token_hex(16)
        try:
            digest = _copy(source, draft)
            target = self._path(digest)
            if not (target.exists() and digest_of(target) == digest):
                target.parent.mkdir(mode=0o700, exist_ok=True)
                draft.replace(target)
                _sync(target.parent)
        finally:
            draft.unlink(missing_ok=True)
        return digest

    def fetch(self, digest: str) -> Path:
        """See `compute.ports.Vault.fetch`."""
        path = self._path(digest)
        try:
            seen = _seen(path)
            if self._verified.get(digest) != seen:
                if digest_of(path) != digest:
                    raise ObjectDamaged(digest=digest)
                with self._turn:
                    self._verified[digest] = seen
        except FileNotFoundError:
            raise ObjectMissing(digest=digest) from None
        return path

    def has(self, digest: str) -> bool:
        """See `compute.ports.Vault.has`."""
        return self._path(digest).exists()

    def _path(self, digest: str) -> Path:
        return self._folder / _require(digest)[:2] / digest


class S3Vault:
    """Objects `objects/ab/ab12…` of one bucket; fetched ones are kept in a local folder, the cache.

    The cache is a `LocalVault`, so a fetched object is checked like a stored one, and is never fetched twice.
    """

    def __init__(
        self, *, endpoint: str, bucket: str, access_key: str, secret_key: str, cache: Path, secure: bool = True
    ) -> None:
        http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=60), retries=urllib3.Retry(total=2, backoff_factor=0.2), maxsize=8
        )
        self._client = Minio(endpoint, access_key=access_key, secret_key=secret_key, secure=secure, http_client=http)
        self._bucket = bucket
        self._cache = LocalVault(cache)
        self._folder = cache

    def put(self, source: Path) -> str:
        """See `compute.ports.Vault.put`."""
        digest = self._cache.put(source)
        if not self.has(digest):
            with _s3_errors(digest):
                self._client.fput_object(self._bucket, _key(digest), str(self._cache.fetch(digest)))
        return digest

    def fetch(self, digest: str) -> Path:
        """See `compute.ports.Vault.fetch`."""
        if not self._cache.has(digest):
            self._download(digest)
        try:
            return self._cache.fetch(digest)
        except ObjectDamaged:
            self._download(digest)  # what was damaged is the copy: the original decides
            return self._cache.fetch(digest)

    def has(self, digest: str) -> bool:
        """See `compute.ports.Vault.has`."""
        try:
            with _s3_errors(digest):
                self._client.stat_object(self._bucket, _key(digest))
        except ObjectMissing:
            return False
        return True

    def _download(self, digest: str) -> None:
        draft = self._folder / f".fetched-{secrets.token_hex(16)}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with _s3_errors(digest):
                self._client.fget_object(self._bucket, _key(digest), str(draft))
            if digest_of(draft) != digest:
                raise ObjectDamaged(digest=digest)
            self._cache.put(draft)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def _s3_errors(digest: str) -> Iterator[None]:
    """Turn the SDK's and the network's exceptions into ours."""
    try:
        yield
    except S3Error as error:
        if error.code in _ABSENT:
            raise ObjectMissing(digest=digest) from error
        raise VaultUnavailable(private=f"{error.code}: {error.message}") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise VaultUnavailable(private=f"{type(error).__name__}: {error}") from error


def _key(digest: str) -> str:
    return f"objects/{_require(digest)[:2]}/{digest}"


def _require(digest: str) -> str:
    """Guard every path and key: nothing but 64 hex digits ever names an object."""
    if not _DIGEST.fullmatch(digest):
        raise ObjectMissing(digest=digest[:64])
    return digest


def _copy(source: Path, target: Path) -> str:
    """Copy, hash and sync in one pass; the copy is read-only."""
    hashed = hashlib.sha256()
    with source.open("rb") as read, target.open("xb") as write:
        while chunk := read.read(_CHUNK):
            hashed.update(chunk)
            write.write(chunk)
        write.flush()
        os.fchmod(write.fileno(), 0o400)
        os.fsync(write.fileno())
    return hashed.hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _seen(path: Path) -> Seen:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
