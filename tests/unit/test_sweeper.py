"""The sweep announces what waits too long at once, and then ever more rarely."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from compute.jobs import Kind
from sandbox import worker
from sandbox.worker import JOURNEYS, Sweeper


@dataclass
class Said:
    ids: list[str] = field(default_factory=list)

    def send(self, job_id: str) -> None:
        self.ids.append(job_id)


@dataclass
class Stub:
    queue: Said


def test_a_waiting_job_is_announced_at_once_and_then_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: tuple[str, ...] = ("a",)
    monkeypatch.setattr(worker, "sweep", lambda _house: waiting)
    house: Any = Stub(Said())
    sweeper = Sweeper(house)
    counts = [sweeper.sweep(float(now)) for now in range(100)]
    assert [now for now, count in enumerate(counts) if count] == [0, 10, 30, 70]
    waiting = ("a", "b")
    assert sweeper.sweep(101.0) == 1
    assert house.queue.ids[-1] == "b"
    waiting = ()
    assert sweeper.sweep(102.0) == 0
    waiting = ("a",)
    assert sweeper.sweep(103.0) == 1, "a job that came back is announced at once"


def test_every_kind_of_job_has_a_journey() -> None:
    assert set(JOURNEYS) == set(Kind)
