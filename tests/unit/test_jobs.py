"""The state dict of jobs, and the rules of claiming and fencing under any order of events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.jobs import (
    LEASE,
    MAX_ATTEMPTS,
    OWNERS,
    SHOWN,
    STALE,
    STATUS,
    TRANSITIONS,
    Job,
    JobOver,
    Kind,
    LeaseLost,
    Owner,
    Progress,
    State,
    StatusCode,
    cancelled,
    claimable,
    claimed,
    exhausted,
    finished,
    given_back,
    holds,
    killed,
    lease_lost,
    may_have_read,
    moved,
    queued,
    renewed,
    stale,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NEW = Job(id="j", kind=Kind.ASK, dataset="d", asked_by="li", payload="{}", created_at=NOW, changed_at=NOW, project="p")
WAITING = queued(NEW, NOW)


def _running(attempt: int = 1) -> Job:
    job = WAITING
    for n in range(attempt):
        found = claimed(job, NOW + n * 2 * LEASE)
        assert found is not None
        job = found
    return job


def test_every_state_has_transitions_an_owner_and_something_to_show() -> None:
    assert set(TRANSITIONS) == set(OWNERS) == set(SHOWN) == set(State)
    assert all(targets <= set(State) for targets in TRANSITIONS.values())
    assert {s for s in State if s.final} == {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.KILLED}
    assert all((OWNERS[s] is Owner.NOBODY) == s.final for s in State)


def test_every_state_can_be_reached_and_every_other_can_end() -> None:
    reached, edge = {State.CREATED}, {State.CREATED}
    while edge:
        edge = {t for s in edge for t in TRANSITIONS[s]} - reached
        reached |= edge
    assert reached == set(State)


def test_every_status_belongs_to_one_state_and_says_something_in_both_languages() -> None:
    shown = [code for codes in SHOWN.values() for code in codes]
    assert sorted(shown) == sorted(StatusCode)
    assert set(STATUS) == set(StatusCode)
    assert all(text.en and text.zh and text.en != text.zh for text in STATUS.values())


def test_a_claim_takes_a_lease_and_counts() -> None:
    job = claimed(WAITING, NOW)
    assert job is not None
    assert (job.state, job.status, job.attempt, job.lease_until) == (State.RUNNING, StatusCode.WORKING, 1, NOW + LEASE)
    assert claimed(job, NOW) is None
    assert claimed(job, NOW + LEASE - timedelta(microseconds=1)) is None
    again = claimed(job, NOW + LEASE)
    assert again is not None
    assert again.attempt == 2


def test_a_created_or_finished_job_is_not_to_be_had() -> None:
    over = finished(_running(), 1, State.SUCCEEDED, StatusCode.ANSWERED, NOW)
    for job in (NEW, over, cancelled(WAITING, NOW), killed(WAITING, NOW)):
        assert claimed(job, NOW + timedelta(days=1)) is None
        assert not stale(job, NOW + timedelta(days=1))


def test_a_job_is_tried_so_often_and_no_oftener() -> None:
    job = _running(MAX_ATTEMPTS)
    late = NOW + timedelta(days=1)
    assert not claimable(job, late)
    assert exhausted(job, late)
    assert not exhausted(job, NOW), "its last worker may still be alive"
    assert exhausted(given_back(job, MAX_ATTEMPTS, NOW), NOW)
    assert not exhausted(_running(MAX_ATTEMPTS - 1), late)


def test_a_heartbeat_runs_the_lease_on_and_tells_progress() -> None:
    later = NOW + timedelta(seconds=3)
    job = renewed(_running(), 1, later, Progress(stage="read", done=1, total=2))
    assert job.lease_until == later + LEASE
    assert job.progress.done == 1
    assert renewed(job, 1, later).progress.done == 1
    with pytest.raises(LeaseLost):
        renewed(job, 2, later)


def test_an_expired_lease_that_nobody_took_over_still_holds() -> None:
    assert holds(_running(), 1)
    assert lease_lost(_running(), NOW + LEASE)
    done = finished(_running(), 1, State.SUCCEEDED, StatusCode.ANSWERED, NOW + timedelta(hours=1), result="r")
    assert (done.state, done.result, done.lease_until) == (State.SUCCEEDED, "r", None)


@pytest.mark.parametrize("late", [1, 3])
def test_only_the_attempt_that_holds_the_job_ends_it(late: int) -> None:
    with pytest.raises(LeaseLost):
        finished(_running(2), late, State.SUCCEEDED, StatusCode.ANSWERED, NOW)
    with pytest.raises(LeaseLost):
        given_back(_running(2), late, NOW)


def test_a_status_of_another_state_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        moved(WAITING, State.CANCELLED, StatusCode.ANSWERED, NOW)


def test_what_is_over_stays_over() -> None:
    over = cancelled(WAITING, NOW)
    with pytest.raises(JobOver):
        cancelled(over, NOW)
    with pytest.raises(JobOver):
        killed(over, NOW)
    with pytest.raises(LeaseLost):
        renewed(over, 0, NOW)


def test_a_waiting_job_becomes_stale_and_a_lost_one_at_once() -> None:
    assert not stale(WAITING, NOW)
    assert stale(WAITING, NOW + STALE)
    assert not stale(_running(), NOW)
    assert stale(_running(), NOW + LEASE)
    assert stale(replace(_running(), lease_until=None), NOW), "a running job without a lease has no worker"


def test_data_may_have_been_read_once_somebody_claimed_it() -> None:
    assert not may_have_read(WAITING)
    assert may_have_read(_running())
    assert may_have_read(given_back(_running(), 1, NOW))


events = st.lists(
    st.tuples(
        st.sampled_from(["claim", "renew", "finish", "fail", "back", "cancel", "kill"]),
        st.integers(0, 8),
        st.integers(0, 30),
    ),
    max_size=40,
)


@given(events)
def test_under_any_order_of_events_one_attempt_ends_the_job_and_states_follow_the_dict(
    steps: list[tuple[str, int, int]],
) -> None:
    job, now, ends = WAITING, NOW, 0
    for what, attempt, seconds in steps:
        now += timedelta(seconds=seconds)
        before = job
        try:
            job = _apply(job, what, attempt, now)
        except (LeaseLost, JobOver):
            assert job is before
            continue
        if job.state is not before.state:
            ends += job.state.final
            hops = TRANSITIONS[before.state] | {t for s in TRANSITIONS[before.state] for t in TRANSITIONS[s]}
            assert job.state in hops
        assert job.attempt >= before.attempt
        assert (job.lease_until is not None) == (job.state is State.RUNNING)
        assert job.status in SHOWN[job.state]
    assert ends <= 1
    assert job.attempt <= MAX_ATTEMPTS


def _apply(job: Job, what: str, attempt: int, now: datetime) -> Job:
    match what:
        case "claim":
            return claimed(job, now) or job
        case "renew":
            return renewed(job, attempt, now)
        case "finish":
            return finished(job, attempt, State.SUCCEEDED, StatusCode.ANSWERED, now)
        case "fail":
            return finished(job, attempt, State.FAILED, StatusCode.FAULT, now)
        case "back":
            return given_back(job, attempt, now)
        case "cancel":
            return cancelled(job, now)
        case _:
            return killed(job, now)
