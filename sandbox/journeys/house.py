"""The House: the ports every journey is given, and the unit of work in which people, promises, money and jobs meet.

Owns `House` (a frozen record of ports, filled in one place, `sandbox.wiring`), the repository of jobs (which needs both
floors' nouns, so it cannot live on one of them) and `permit`, the one way a journey asks for a decision. It never
decides, stores or computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from access.audit import Entry, Json
from access.people import Principal
from access.policy import Decision, Request, decide
from access.ports import Clock, Cursor, Entropy, Passwords, Registry, Signer, Slice, Unit, fresh_id
from compute.jobs import Job, Progress, State, StatusCode
from compute.ports import Engine, Ingest, Limits, Queue, Vault
from privacy.errors import NotFound

#: The actor of what no person did.
SYSTEM = "system"


class Jobs(Protocol):
    """The jobs table (law 11). Every method does what the pure function of the same name in `compute.jobs` says."""

    def add(self, job: Job, *, entry: Entry) -> None:
        """Keep a new job in the state it comes in."""

    def get(self, key: str) -> Job | None:
        """By id."""

    def list(
        self,
        cursor: Cursor,
        *,
        asked_by: str | None = None,
        project: str | None = None,
        member: str | None = None,
        dataset: str | None = None,
        kind: str | None = None,
    ) -> Slice[Job]:
        """Filtered; `member` means jobs of projects with this member."""

    def claim(self, key: str, *, now: datetime, entry: Entry) -> Job | None:
        """The job as the next attempt holds it, or None (and then the entry is not appended)."""

    def renew(self, key: str, attempt: int, *, now: datetime, progress: Progress | None = None) -> Job:
        """The heartbeat. Raises `LeaseLost`. A lease is no promise: the one write without an audit entry."""

    def give_back(self, key: str, attempt: int, *, now: datetime, entry: Entry) -> Job:
        """To the queue again. Raises `LeaseLost`."""

    def finish(
        self,
        key: str,
        attempt: int,
        to: State,
        status: StatusCode,
        *,
        now: datetime,
        result: str = "",
        private: str = "",
        entry: Entry,
    ) -> Job:
        """The final state, fenced by the attempt. Raises `LeaseLost`; then roll the whole transaction back."""

    def cancel(self, key: str, *, now: datetime, entry: Entry) -> Job:
        """Raises `JobNotFound` or `JobOver`."""

    def kill(self, key: str, status: StatusCode, *, now: datetime, entry: Entry) -> Job:
        """Stopped for good. Raises `JobNotFound` or `JobOver`."""

    def stale(self, now: datetime, limit: int = 100) -> tuple[str, ...]:
        """Ids to announce again (`compute.jobs.stale` and tries left), the oldest first."""

    def exhausted(self, now: datetime, limit: int = 100) -> tuple[str, ...]:
        """Ids to kill (`compute.jobs.exhausted`)."""


class Work(Unit, Protocol):
    """The unit of work of the journeys: everything of the access floor, and the jobs."""

    @property
    def jobs(self) -> Jobs:
        """See `Jobs`."""


@dataclass(frozen=True, kw_only=True)
class House:
    """What a journey needs. `staging` is a private folder for uploads and for files on their way into the vault."""

    registry: Registry[Work]
    vault: Vault
    engine: Engine
    ingest: Ingest
    queue: Queue
    signer: Signer
    passwords: Passwords
    clock: Clock
    entropy: Entropy
    staging: Path
    limits: Limits = field(default_factory=Limits)

    def new_id(self) -> str:
        """A fresh id."""
        return fresh_id(self.entropy)

    def event(self, kind: str, who: Principal | None, subject: str, **details: Json) -> Entry:
        """An audit entry about `subject`, now. Without a principal the house itself acts."""
        return Entry(kind=kind, actor=who.id if who else SYSTEM, subject=subject, at=self.clock(), details=details)


def permit(request: Request, hidden: NotFound) -> Decision:
    """Decide, and return the decision when it is a yes; raise `hidden` or the refusal otherwise."""
    decision = decide(request)
    if decision.hidden:
        raise hidden
    if not decision.allowed:
        raise decision.refusal()
    return decision
