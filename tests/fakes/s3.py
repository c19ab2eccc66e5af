"""A real S3 server (SeaweedFS) on loopback for the length of a test session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

ACCESS, SECRET, BUCKET = "tester", "tester-secret-key", "versions"
_SERVICES = ("s3", "master", "volume", "filer", "admin")
_LISTENERS = (
    *(f"{name}.port" for name in (*_SERVICES, "webdav")),
    *(f"{name}.port.grpc" for name in _SERVICES),
    "s3.port.iceberg",
    "s3.port.lance",
)


@dataclass(frozen=True, kw_only=True)
class S3:
    """Where the server answers, where it keeps its files, and a client that may do everything."""

    endpoint: str
    folder: Path
    client: Minio


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            taken = held.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            ports.append(taken.getsockname()[1])
        return ports


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed") or "weed"


@contextmanager
def s3_server() -> Iterator[S3]:
    """Start `weed mini`, wait until it answers, make the bucket; always stop it."""
    folder = Path(tempfile.mkdtemp(prefix="weed-"))
    flags = [f"-{name}={port}" for name, port in zip(_LISTENERS, _free_ports(len(_LISTENERS)), strict=True)]
    endpoint = f"127.0.0.1:{flags[0].partition('=')[2]}"
    command = [_weed(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", *flags]
    environment = os.environ | {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    log = folder.with_suffix(".log")
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as server:
        try:
            client = Minio(
                endpoint,
                access_key=ACCESS,
                secret_key=SECRET,
                secure=False,
                http_client=PoolManager(timeout=2, retries=Retry(total=0)),
            )
            _wait(client, server, log)
            yield S3(endpoint=endpoint, folder=folder, client=client)
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder, ignore_errors=True)
            log.unlink()


def _wait(client: Minio, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            client.make_bucket(BUCKET)
        except (MinioException, HTTPError, OSError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the S3 server did not start:\n" + log.read_text(errors="replace")[-4000:])
