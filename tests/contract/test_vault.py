"""The duties of a Vault, held by the fake, by a local folder and by a real S3 server alike."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from compute.ports import Vault
from compute.storage import LocalVault, ObjectDamaged, ObjectMissing, S3Vault, VaultUnavailable, digest_of
from privacy.errors import Fault, Unavailable
from tests.fakes.s3 import ACCESS, BUCKET, S3, SECRET, s3_server
from tests.fakes.vault import FakeVault


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A vault, and how to change a stored object behind its back."""

    vault: Vault
    tamper: Callable[[str, bytes], None]


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


def _s3_vault(server: S3, cache: Path, **other: str) -> S3Vault:
    settings = {"endpoint": server.endpoint, "bucket": BUCKET, "access_key": ACCESS, "secret_key": SECRET} | other
    return S3Vault(**settings, cache=cache, secure=False)


def _fake(folder: Path, request: pytest.FixtureRequest) -> Stage:
    vault = FakeVault(folder)
    return Stage(vault=vault, tamper=vault.objects.__setitem__)


def _local(folder: Path, request: pytest.FixtureRequest) -> Stage:
    def tamper(digest: str, content: bytes) -> None:
        path = folder / digest[:2] / digest
        path.chmod(0o600)
        path.write_bytes(content)

    return Stage(vault=LocalVault(folder), tamper=tamper)


def _s3(folder: Path, request: pytest.FixtureRequest) -> Stage:
    server: S3 = request.getfixturevalue("s3")

    def tamper(digest: str, content: bytes) -> None:
        changed = folder.parent / "changed"
        changed.write_bytes(content)
        server.client.fput_object(BUCKET, f"objects/{digest[:2]}/{digest}", str(changed))
        (folder / digest[:2] / digest).unlink(missing_ok=True)  # the cached copy

    return Stage(vault=_s3_vault(server, folder), tamper=tamper)


@pytest.fixture(params=[_fake, _local, _s3], ids=["fake", "local", "s3"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    folder = tmp_path / "vault"
    folder.mkdir()
    return request.param(folder, request)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3000))
    return path


def test_what_is_put_is_fetched_by_its_digest(stage, source):
    digest = stage.vault.put(source)
    assert digest == hashlib.sha256(source.read_bytes()).hexdigest() == digest_of(source)
    assert stage.vault.has(digest)
    assert stage.vault.fetch(digest).read_bytes() == source.read_bytes()
    assert source.exists(), "the source is the caller's"


def test_fetched_files_are_read_only(stage, source):
    assert stage.vault.fetch(stage.vault.put(source)).stat().st_mode & 0o222 == 0


def test_putting_twice_is_putting_once(stage, source):
    first = stage.vault.put(source)
    path = stage.vault.fetch(first)
    assert stage.vault.put(source) == first
    assert stage.vault.fetch(first) == path


def test_a_large_object_goes_in_parts(stage, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1 << 20) * 12)
    assert digest_of(stage.vault.fetch(stage.vault.put(large))) == digest_of(large)


def test_an_empty_object(stage, tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    assert stage.vault.fetch(stage.vault.put(empty)).read_bytes() == b""


@pytest.mark.parametrize("digest", ["0" * 64, "", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_not_there_is_missing(stage, digest):
    with pytest.raises(ObjectMissing):
        stage.vault.fetch(digest)


def test_what_is_not_there_is_not_had(stage):
    assert not stage.vault.has("0" * 64)


def test_an_object_that_was_changed_is_damaged(stage, source):
    digest = stage.vault.put(source)
    stage.vault.fetch(digest)
    stage.tamper(digest, b"evil" * 750)
    with pytest.raises(ObjectDamaged):
        stage.vault.fetch(digest)


def test_the_true_bytes_heal_a_damaged_object(stage, source):
    digest = stage.vault.put(source)
    stage.tamper(digest, b"evil")
    if isinstance(stage.vault, S3Vault):  # an S3 object is never written over: the operator restores it
        stage.tamper(digest, source.read_bytes())
    else:
        stage.vault.put(source)
    assert stage.vault.fetch(digest).read_bytes() == source.read_bytes()


def test_many_threads_put_the_same_object(stage, source):
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(stage.vault.put(source))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [digest_of(source)] * 6
    assert stage.vault.fetch(digests[0]).read_bytes() == source.read_bytes()


# --- local ---------------------------------------------------------------------------------------------------------------


def test_a_failed_put_leaves_nothing(tmp_path):
    vault = LocalVault(tmp_path / "vault")
    with pytest.raises(FileNotFoundError):
        vault.put(tmp_path / "absent")
    assert [p for p in (tmp_path / "vault").rglob("*") if p.is_file()] == []


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path, source, monkeypatch):
    vault = LocalVault(tmp_path / "vault")
    digest = vault.put(source)
    hashed: list[Path] = []
    monkeypatch.setattr("compute.storage.digest_of", lambda p: hashed.append(p) or digest_of(p))
    for _ in range(3):
        vault.fetch(digest)
    assert len(hashed) == 1
    os.utime(vault.fetch(digest))
    vault.fetch(digest)
    assert len(hashed) == 2


# --- S3 ------------------------------------------------------------------------------------------------------------------


def test_another_machine_fetches_once_and_keeps_a_copy(s3, tmp_path, source):
    digest = _s3_vault(s3, tmp_path / "one").put(source)
    other = _s3_vault(s3, tmp_path / "two")
    path = other.fetch(digest)
    assert path.is_relative_to(tmp_path / "two")
    assert path.read_bytes() == source.read_bytes()
    s3.client.remove_object(BUCKET, f"objects/{digest[:2]}/{digest}")
    assert other.fetch(digest) == path
    assert not other.has(digest)
    assert [p.name for p in (tmp_path / "two").iterdir() if p.name.startswith(".")] == []


def test_a_damaged_copy_is_fetched_anew(s3, tmp_path, source):
    vault = _s3_vault(s3, tmp_path / "cache")
    digest = vault.put(source)
    path = vault.fetch(digest)
    path.chmod(0o600)
    path.write_bytes(b"evil")
    assert vault.fetch(digest).read_bytes() == source.read_bytes()


def test_a_wrong_key_or_bucket_is_unavailable_not_missing(s3, tmp_path, source):
    for wrong in ({"secret_key": "wrong-secret-key"}, {"bucket": "no-such-bucket"}):
        vault = _s3_vault(s3, tmp_path / "cache", **wrong)
        with pytest.raises(VaultUnavailable) as caught:
            vault.fetch("0" * 64)
        assert isinstance(caught.value, Unavailable)
        assert caught.value.private
        assert SECRET not in caught.value.private


@contextmanager
def _nobody_there() -> Iterator[str]:
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_no_server_is_unavailable(tmp_path, source):
    with _nobody_there() as endpoint:
        vault = S3Vault(
            endpoint=endpoint, bucket=BUCKET, access_key=ACCESS, secret_key=SECRET, cache=tmp_path / "c", secure=False
        )
        with pytest.raises(VaultUnavailable):
            vault.put(source)


def test_damage_is_a_fault_for_everybody_but_the_operator():
    assert issubclass(ObjectDamaged, Fault)
    assert issubclass(ObjectMissing, Fault)
