"""Asked work and its tries: the noun `Job`, its state dict, and the rules of claiming and fencing as pure functions.

Owns what a machine acts on (`State`) apart from what a person reads (`StatusCode`), and the arithmetic of leases. It never
touches a table, a clock or a queue: the store turns `claimed`, `renewed`, `finished` and `cancelled` into conditional
UPDATEs with the same conditions, and the fake registry calls them as they stand. Law 7: states are a dict. Law 11: the
jobs table is the truth; a claim takes a lease and an attempt number, a finish counts only for the attempt that holds it.

    created ──> queued ──> running ──> succeeded | failed | killed
                   │  ^────── lease lost ──┘ │
                   └──────> cancelled <──────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from privacy.errors import Conflict, NotFound, Text

#: How long a claim holds without a heartbeat, and how often a worker renews it: four beats may be lost.
LEASE = timedelta(seconds=10)
HEARTBEAT = timedelta(seconds=2)
#: A job whose workers die this many times takes its workers down with it: it is killed, not tried again.
MAX_ATTEMPTS = 6
#: A job that waits longer than this for a claim is announced again (a message may be lost, never a job).
STALE = timedelta(seconds=10)


class Kind(StrEnum):
    """What a job does."""

    ASK = "ask"
    INGEST = "ingest"


class State(StrEnum):
    """Where a job stands, for the machine."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"

    @property
    def final(self) -> bool:
        """True when nothing will change any more."""
        return not TRANSITIONS[self]


class Owner(StrEnum):
    """Whose move it is in a state."""

    AUTHOR = "author"
    SYSTEM = "system"
    NOBODY = "nobody"


TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.CREATED: frozenset({State.QUEUED}),
        State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.KILLED}),
        State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.KILLED}),
        State.SUCCEEDED: frozenset(),
        State.FAILED: frozenset(),
        State.CANCELLED: frozenset(),
        State.KILLED: frozenset(),
    }
)

OWNERS: Mapping[State, Owner] = MappingProxyType(
    {
        State.CREATED: Owner.AUTHOR,
        State.QUEUED: Owner.SYSTEM,
        State.RUNNING: Owner.SYSTEM,
        State.SUCCEEDED: Owner.NOBODY,
        State.FAILED: Owner.NOBODY,
        State.CANCELLED: Owner.NOBODY,
        State.KILLED: Owner.NOBODY,
    }
)


class StatusCode(StrEnum):
    """Where a job stands, for a person; `STATUS` holds the sentences. It never says more than public facts (law 5)."""

    CREATED = "created"
    WAITING = "waiting"
    WORKING = "working"
    WAITING_AGAIN = "waiting_again"
    ANSWERED = "answered"
    INGESTED = "ingested"
    FAULT = "fault"
    BAD_INPUT = "bad_input"
    CANCELLED_BY_ASKER = "cancelled_by_asker"
    NO_LONGER_ALLOWED = "no_longer_allowed"
    LOST_TOO_OFTEN = "lost_too_often"
    KILLED_BY_OPERATOR = "killed_by_operator"


STATUS: Mapping[StatusCode, Text] = MappingProxyType(
    {
        StatusCode.CREATED: Text("Written down.", "已登记。"),
        StatusCode.WAITING: Text("Waiting for a worker.", "正在等待工作进程。"),
        StatusCode.WORKING: Text("A worker is on it.", "工作进程正在处理。"),
        StatusCode.WAITING_AGAIN: Text("A worker was lost; it will be tried again.", "工作进程中断，将重新尝试。"),
        StatusCode.ANSWERED: Text("Answered.", "已得出结果。"),
        StatusCode.INGESTED: Text("The dataset version is ready.", "数据集版本已就绪。"),
        StatusCode.FAULT: Text(
            "The work could not be completed. Give the operator the job's id.",
            "该任务未能完成，请将作业编号提供给运营方。",
        ),
        StatusCode.BAD_INPUT: Text(
            "The files do not fit the description; the report for the steward says where.",
            "文件与数据集描述不符，详见提供方可查看的报告。",
        ),
        StatusCode.CANCELLED_BY_ASKER: Text("Cancelled by the person who asked.", "已由提问者取消。"),
        StatusCode.NO_LONGER_ALLOWED: Text(
            "Stopped before any data was read: the permission it was asked under no longer holds.",
            "在读取数据之前已停止：提问时所依据的授权已不再有效。",
        ),
        StatusCode.LOST_TOO_OFTEN: Text(
            "Stopped: its workers were lost too many times. Give the operator the job's id.",
            "已停止：工作进程多次中断，请将作业编号提供给运营方。",
        ),
        StatusCode.KILLED_BY_OPERATOR: Text("Stopped by the operator.", "已由运营方终止。"),
    }
)

#: The status codes a job may show in each state; every code belongs to exactly one state.
SHOWN: Mapping[State, frozenset[StatusCode]] = MappingProxyType(
    {
        State.CREATED: frozenset({StatusCode.CREATED}),
        State.QUEUED: frozenset({StatusCode.WAITING, StatusCode.WAITING_AGAIN}),
        State.RUNNING: frozenset({StatusCode.WORKING}),
        State.SUCCEEDED: frozenset({StatusCode.ANSWERED, StatusCode.INGESTED}),
        State.FAILED: frozenset({StatusCode.FAULT, StatusCode.BAD_INPUT}),
        State.CANCELLED: frozenset({StatusCode.CANCELLED_BY_ASKER, StatusCode.NO_LONGER_ALLOWED}),
        State.KILLED: frozenset({StatusCode.LOST_TOO_OFTEN, StatusCode.KILLED_BY_OPERATOR}),
    }
)


class JobNotFound(NotFound):
    """No such job, or not one of yours."""

    code = "job.not_found"
    sentence = Text("There is no job {job}.", "没有作业 {job}。")
    hint = Text("List your jobs to see their ids.", "请列出您的作业以查看编号。")


class JobOver(Conflict):
    """The job has reached a final state."""

    code = "job.over"
    sentence = Text("The job {job} is already over ({state}).", "作业 {job} 已经结束（{state}）。")
    hint = Text(
        "A finished job cannot be changed. Read it, or ask again.", "已结束的作业不能更改，可查看其结果或重新提问。"
    )


class LeaseLost(Conflict):
    """A worker comes late: another attempt holds the job, or the job is over. Never shown to an asker."""

    code = "job.lease_lost"
    sentence = Text("Attempt {attempt} no longer holds the job {job}.", "第 {attempt} 次尝试已不再持有作业 {job}。")
    hint = Text("Drop what this attempt made: it counts for nothing.", "请丢弃本次尝试的产物，它不计入任何结果。")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a running job is; `total` is 0 when unknown. Never depends on confidential values for an ask."""

    stage: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Asked work. `payload` and `result` are canonical JSON text whose shape the journey of this kind owns.

    `attempt` counts the claims so far; `lease_until` is set exactly while running. `private` is the operator's record of
    a failure and reaches no asker. All times are UTC. `project` is None for work that belongs to a steward (ingest).
    """

    id: str
    kind: Kind
    dataset: str
    asked_by: str
    payload: str
    created_at: datetime
    changed_at: datetime
    project: str | None = None
    state: State = State.CREATED
    status: StatusCode = StatusCode.CREATED
    attempt: int = 0
    lease_until: datetime | None = None
    progress: Progress = Progress()
    result: str = ""
    private: str = ""


def require_move(job: Job, to: State) -> None:
    """Raise `JobOver` unless the state dict allows the move."""
    if to not in TRANSITIONS[job.state]:
        raise JobOver(job=job.id, state=job.state.value)


def moved(job: Job, to: State, status: StatusCode, now: datetime) -> Job:
    """The job in its next state; the only way a state changes."""
    require_move(job, to)
    if status not in SHOWN[to]:
        raise ValueError(f"status {status} does not belong to state {to}")
    return replace(job, state=to, status=status, changed_at=now, lease_until=None)


def queued(job: Job, now: datetime) -> Job:
    """A created job, ready to be claimed; happens in the transaction that writes it down."""
    return moved(job, State.QUEUED, StatusCode.WAITING, now)


def lease_lost(job: Job, now: datetime) -> bool:
    """True when the worker of a running job has stopped renewing its lease."""
    return job.state is State.RUNNING and (job.lease_until is None or job.lease_until <= now)


def claimable(job: Job, now: datetime) -> bool:
    """True when a worker may take the job: it waits, or its worker was lost; and it has tries left."""
    return job.attempt < MAX_ATTEMPTS and (job.state is State.QUEUED or lease_lost(job, now))


def exhausted(job: Job, now: datetime) -> bool:
    """True when the job may not be tried again and nobody works on it: the reconciler kills it."""
    return job.attempt >= MAX_ATTEMPTS and (job.state is State.QUEUED or lease_lost(job, now))


def stale(job: Job, now: datetime) -> bool:
    """True when the job should be announced again: it waits for too long, or its worker was lost."""
    return lease_lost(job, now) or (job.state is State.QUEUED and job.changed_at + STALE <= now)


def claimed(job: Job, now: datetime, lease: timedelta = LEASE) -> Job | None:
    """The job as the next attempt holds it, or None when it is not to be had.

    As one UPDATE: `SET state='running', attempt=attempt+1, lease_until=:now+:lease … WHERE id=:id AND attempt<:max AND
    (state='queued' OR (state='running' AND lease_until<=:now))`.
    """
    if not claimable(job, now):
        return None
    waiting = moved(job, State.QUEUED, StatusCode.WAITING_AGAIN, now) if job.state is State.RUNNING else job
    running = moved(waiting, State.RUNNING, StatusCode.WORKING, now)
    return replace(running, attempt=job.attempt + 1, lease_until=now + lease, progress=Progress())


def holds(job: Job, attempt: int) -> bool:
    """The fence: true when `attempt` is the one that may write. An expired lease nobody took over still holds."""
    return job.state is State.RUNNING and job.attempt == attempt


def require_hold(job: Job, attempt: int) -> None:
    """Raise `LeaseLost` unless `attempt` holds the job."""
    if not holds(job, attempt):
        raise LeaseLost(job=job.id, attempt=attempt)


def renewed(job: Job, attempt: int, now: datetime, progress: Progress | None = None, lease: timedelta = LEASE) -> Job:
    """The heartbeat: the lease runs on from `now`. `… WHERE id=:id AND state='running' AND attempt=:attempt`."""
    require_hold(job, attempt)
    return replace(job, lease_until=now + lease, progress=progress or job.progress)


def given_back(job: Job, attempt: int, now: datetime) -> Job:
    """A worker that is told to stop hands its job back at once instead of letting the lease run out."""
    require_hold(job, attempt)
    return moved(job, State.QUEUED, StatusCode.WAITING_AGAIN, now)


def finished(
    job: Job, attempt: int, to: State, status: StatusCode, now: datetime, *, result: str = "", private: str = ""
) -> Job:
    """The job as this attempt leaves it, under the same fence as `renewed`; `to` is a final state."""
    require_hold(job, attempt)
    return replace(moved(job, to, status, now), result=result, private=private)


def cancelled(job: Job, now: datetime) -> Job:
    """Cancelled by the asker, waiting or running. A worker that is still on it finds its fence closed.

    What was reserved is voided when nobody had claimed the job (`attempt == 0`) and settled otherwise: data may have
    been read (law 1).
    """
    return moved(job, State.CANCELLED, StatusCode.CANCELLED_BY_ASKER, now)


def killed(job: Job, now: datetime, status: StatusCode = StatusCode.LOST_TOO_OFTEN) -> Job:
    """Stopped for good by the system or the operator."""
    return moved(job, State.KILLED, status, now)


def may_have_read(job: Job) -> bool:
    """True when some attempt may have touched data, so that a reservation must be settled, never voided (law 1)."""
    return job.attempt > 0
