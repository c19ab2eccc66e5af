"""The single place where adapters meet ports: settings in, a `House` out.

Owns the choice of every adapter, the clock and the source of randomness of the real world, the signing key's file, and the
Celery application through which jobs are announced. No rule lives here. Law 10: whatever is missing stops the start with
a sentence that says what to do; nothing is replaced by something weaker.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from access.audit import Ed25519Signer, Signer, public_pem
from compute.engines.duckdb import DuckEngine
from compute.engines.ingest import DuckIngest
from compute.pace import Pace
from compute.ports import Vault
from compute.storage import LocalVault, S3Vault
from privacy.errors import Text, Unavailable
from sandbox import spool
from sandbox.journeys.house import House
from sandbox.settings import Settings
from sandbox.store import Argon2Passwords, SqlRegistry

TASK = "sandbox.job"
"""The one kind of message: a job's id."""
_SEED_BYTES = 32


class KeyUnsafe(Unavailable):
    """The signing key's file cannot be trusted."""

    code = "key.unsafe"
    sentence = Text("The signing key {path} cannot be used: {reason}.", "签名密钥 {path} 无法使用：{reason}。")
    hint = Text(
        "It must be a file of 32 bytes, owned by this user, that nobody else may read: chmod 600 {path}",
        "它必须是 32 字节的文件，归当前用户所有且他人不可读：chmod 600 {path}",
    )


def utc_now() -> datetime:
    """The clock of the real world."""
    return datetime.now(UTC)


def entropy(size: int) -> bytes:
    """Bytes from the operating system."""
    return secrets.token_bytes(size)


def build(settings: Settings) -> House:
    """The house as the settings want it. Folders and the signing key are made if they are not there; tables are not."""
    prepare(settings)
    signer = load_signer(settings.key_file)
    return House(
        registry=SqlRegistry(settings.database_url, signer=signer, clock=utc_now),
        vault=vault(settings),
        engine=DuckEngine(),
        ingest=DuckIngest(entropy=entropy),
        queue=CeleryQueue(celery_app(settings)),
        signer=signer,
        passwords=Argon2Passwords(),
        clock=utc_now,
        entropy=entropy,
        staging=settings.staging,
        limits=settings.limits,
        pace=Pace(first=settings.answer_first_ms / 1000),
    )


def prepare(settings: Settings) -> None:
    """Make the folders of the instance, for this user alone."""
    for folder in (settings.home, settings.staging, settings.logs, settings.queue, settings.key_file.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def load_signer(path: Path) -> Signer:
    """The signer of the key in the file; a fresh key is written there, mode 0600, when there is none yet."""
    if not path.exists():
        _write_key(path)
    status = path.stat()
    if status.st_mode & 0o077:
        raise KeyUnsafe(path=path, reason=Text("others may read it", "其他用户可以读取"))
    if status.st_uid != os.geteuid():
        raise KeyUnsafe(path=path, reason=Text("it belongs to somebody else", "它属于其他用户"))
    seed = path.read_bytes()
    if len(seed) != _SEED_BYTES:
        raise KeyUnsafe(path=path, reason=Text("it does not hold 32 bytes", "其内容不是 32 字节"))
    return Ed25519Signer.from_seed(seed)


def _write_key(path: Path) -> None:
    """A fresh private key and its public half. Several processes may try at once; one of them wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    public = Ed25519Signer.from_seed(path.read_bytes()).public_key
    path.with_suffix(".pub.pem").write_text(public_pem(public), encoding="ascii")


def vault(settings: Settings) -> Vault:
    """The vault: a folder of this machine, or an S3 server with that folder as its cache."""
    if not settings.s3_endpoint:
        return LocalVault(settings.vault_folder)
    secret = settings.s3_secret_key_file.read_text(encoding="utf-8").strip() if settings.s3_secret_key_file else ""
    return S3Vault(
        endpoint=settings.s3_endpoint,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=secret,
        cache=settings.vault_folder,
        secure=settings.s3_tls == "yes",
    )


def celery_app(settings: Settings) -> Celery:
    """The Celery application: JSON only, nothing stored, one message taken at a time and confirmed when done."""
    spool.register()
    app = Celery("sandbox", broker=settings.broker or f"{spool.SCHEME}://", set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue="jobs",
        task_publish_retry=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_max_tasks_per_child=500,
        worker_concurrency=settings.workers,
        broker_connection_retry_on_startup=True,
        broker_transport_options=_transport(settings),
        enable_utc=True,
    )
    if settings.broker.startswith("amqp"):
        app.conf.update(
            task_default_queue_type="quorum", task_default_exchange_type="topic", worker_detect_quorum_queues=True
        )
    return app


def _transport(settings: Settings) -> dict[str, object]:
    if settings.broker.startswith("amqp"):
        return {"confirm_publish": True}
    folder = str(settings.queue.absolute())
    return {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder, "polling_interval": 0.05}


class CeleryQueue:
    """`compute.ports.Queue` on Celery: announces ids."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, job_id: str) -> None:
        """Announce the job."""
        self._app.send_task(TASK, args=[job_id], ignore_result=True, retry=False)
