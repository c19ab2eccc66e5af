"""The folder through which an embedded instance tells its workers that a job waits.

Owns one thing: Celery's filesystem transport made safe for several processes. The stock one writes a message in place, so
a reader may take it half-written and stop; and it moves what it takes into the system's temporary folder. Here a message
appears by one rename, is taken by one rename, and never leaves the folder. It carries job ids only; a lost or repeated
message does no harm (law 11: the jobs table is the truth).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.filesystem import Channel as FilesystemChannel
from kombu.transport.filesystem import Transport as FilesystemTransport

SCHEME = "spool"


class Channel(FilesystemChannel):
    """Puts and takes messages by rename, oldest first."""

    def _put(self, queue: str, payload: dict[str, Any], **_: object) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid4().hex}.{queue}.msg"
        draft = folder / f"{name}.draft"
        draft.write_text(json.dumps(payload), encoding="utf-8")
        draft.rename(folder / name)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        folder = Path(self.data_folder_in)
        for found in sorted(folder.glob(f"*.{queue}.msg")):
            taken = found.with_suffix(".taken")
            try:
                found.rename(taken)
            except FileNotFoundError:
                continue  # another worker was quicker
            message = _read(taken)
            taken.unlink(missing_ok=True)
            if message is not None:
                return message
        raise Empty

    def _size(self, queue: str) -> int:
        return sum(1 for _ in Path(self.data_folder_in).glob(f"*.{queue}.msg"))

    def _purge(self, queue: str) -> int:
        found = list(Path(self.data_folder_in).glob(f"*.{queue}.msg"))
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)


def _read(path: Path) -> dict[str, Any] | None:
    """The message, or None when somebody put a file here that is none: it is dropped, the reconciler re-sends."""
    try:
        message = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) else None


class Transport(FilesystemTransport):
    """The filesystem transport with the channel above."""

    Channel = Channel


def register() -> None:
    """Let Celery know the scheme `spool://`."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
