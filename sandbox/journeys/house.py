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
from access.policy import Decision, Request, Use, decide
from access.ports import Clock, Cursor, Entropy, Passwords, Registry, Signer, Slice, Unit, fresh_id
from compute.jobs import Job, Progress, State, StatusCode
from compute.pace import Pace
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
    pace: Pace = field(default_factory=Pace)

    def new_id(self) -> str:
        """A fresh id."""
        return fresh_id(self.entropy)

    def event(self, kind: str, who: Principal | None, subject: str, **details: Json) -> Entry:
        """An audit entry about `subject`, now. Without a principal the house itself acts."""
        return Entry(kind=kind, actor=who.id if who else SYSTEM, subject=subject, at=self.clock(), details=details)


def situation(
    house: House,
    unit: Work,
    who: Principal,
    use: Use,
    *,
    dataset: str | None = None,
    project: str | None = None,
    request: str | None = None,
    asked_by: str | None = None,
) -> Request:
    """Everything the decision may look at, read from the unit. `project` is an id or a name.

    An access request brings its own project and dataset along, with the reviews of its current round.
    """
    found = unit.requests.get(request) if request is not None else None
    if found is not None:
        dataset, project = found.dataset, found.project
    holder = unit.people.project(project) if project is not None else None
    return Request(
        use=use,
        who=who,
        now=house.clock(),
        dataset=unit.catalogue.get(dataset) if dataset is not None else None,
        project=holder,
        request=found,
        reviews=tuple(r for r in unit.requests.reviews(found.id) if r.round == found.round) if found else (),
        grant=unit.grants.newest(holder.id, dataset) if holder is not None and dataset is not None else None,
        asked_by=asked_by,
    )


def permit(request: Request, /, **hidden: NotFound) -> Decision:
    """Decide. Return the decision when it is a yes; raise the refusal with all its reasons when it is a no.

    `hidden` holds what to raise for a thing the asker may not know of, by the first part of the reason's code:
    "dataset.hidden" raises `hidden["dataset"]`, exactly as if the thing did not exist.
    """
    decision = decide(request)
    for reason in decision.reasons:
        if reason.hides:
            raise hidden[reason.code.partition(".")[0]]
    if not decision.allowed:
        raise decision.refusal()
    return decision
