"""A vault in memory (its files in a temporary folder): the fake the contract suite holds to the same duties."""

from __future__ import annotations

import hashlib
from pathlib import Path

from compute.storage import ObjectDamaged, ObjectMissing


class FakeVault:
    """See `compute.ports.Vault`. `objects` may be tampered with by tests."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, bytes] = {}
        self._folder = folder

    def put(self, source: Path) -> str:
        content = source.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.objects[digest] = content
        return digest

    def fetch(self, digest: str) -> Path:
        if digest not in self.objects:
            raise ObjectMissing(digest=digest)
        content = self.objects[digest]
        if hashlib.sha256(content).hexdigest() != digest:
            raise ObjectDamaged(digest=digest)
        path = self._folder / digest
        if not path.exists():
            path.write_bytes(content)
            path.chmod(0o400)
        return path

    def has(self, digest: str) -> bool:
        return digest in self.objects
