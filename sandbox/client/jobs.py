"""A handle on asked work: look, wait, follow, cancel, and take the answer when there is one.

Owns `Job` and how waiting is done: the server's event stream where it works, asking again at growing intervals where a
proxy in between swallows it. Stopping to wait never stops the job; only `cancel` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from pydantic import ValidationError

from sandbox.client import errors
from sandbox.client.answer import Answer
from sandbox.client.show import clean
from sandbox.client.transport import STREAM_BROKE, Wire
from sandbox.say import say
from sandbox.wire import JobEvent, JobOut, QueryOut

Watch = Callable[[JobOut], None]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class Job:
    """Asked work. `state` and `message` are as of the last look; `refresh` looks again."""

    def __init__(self, wire: Wire, told: JobOut, *, finish: Callable[[Answer], Answer] = lambda answer: answer) -> None:
        self._wire = wire
        self._finish = finish
        self.told = told
        self._last_event = ""

    def __repr__(self) -> str:
        return clean(f"<Job {self.id} {self.told.kind}: {self.state}. {self.told.message}>")

    @property
    def id(self) -> str:
        """The job's id, which is also the question's."""
        return self.told.id

    @property
    def state(self) -> str:
        """What the machine acts on: created, queued, running, succeeded, failed, cancelled, killed."""
        return self.told.state

    @property
    def message(self) -> str:
        """Where it stands, in words."""
        return self.told.message

    @property
    def finished(self) -> bool:
        """True when the state will not change any more."""
        return self.told.finished

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{quote(self.id, safe='')}"

    def refresh(self) -> Job:
        """Look again."""
        self.told = self._wire.get(JobOut, self._path)
        return self

    def cancel(self) -> Job:
        """Ask the server to stop it. What was set aside is given back only if no data was read."""
        self.told = self._wire.post(JobOut, f"{self._path}:cancel")
        return self

    def follow(self, *, timeout: float | None = None, clock: Callable[[], float] = time.monotonic) -> Iterator[JobOut]:
        """Every change of the job until it is finished, the present state first. Raises `Unavailable` after `timeout`."""
        end = None if timeout is None else clock() + timeout
        yield self.told
        pause = _FIRST_PAUSE
        while self._goes_on(end, clock):
            for told in self._stream():
                yield told
                pause = _FIRST_PAUSE
                self._goes_on(end, clock)
            if not self._goes_on(end, clock):
                return
            self._wire.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.6)
            before = self.told
            if self.refresh().told != before:
                yield self.told

    def _stream(self) -> Iterator[JobOut]:
        """Changes of one connection, as long as it holds. A broken stream just ends; the next one resumes after it."""
        try:
            for event in self._wire.events(f"{self._path}/events", after=self._last_event):
                if event.data:
                    self.told = JobEvent.model_validate_json(event.data).job
                    self._last_event = event.id
                    yield self.told
        except (*STREAM_BROKE, ValidationError, errors.Unavailable, errors.ServerFault):
            return

    def _goes_on(self, end: float | None, clock: Callable[[], float]) -> bool:
        """Whether there is something to wait for; `Unavailable` when there is and the time is up."""
        if not self.finished and end is not None and clock() >= end:
            raise errors.Unavailable(
                say("The job {job} is not finished yet: {state}.", "作业 {job} 尚未完成：{state}。",
                    job=self.id, state=self.message),
                hint=say("It goes on without you. Look again with `sandbox jobs watch {job}`.",
                         "作业会继续进行，稍后可用 `sandbox jobs watch {job}` 查看。", job=self.id),
            )  # fmt: skip
        return not self.finished

    def wait(self, *, timeout: float | None = None, watch: Watch | None = None) -> Job:
        """Wait until it is finished; `watch` is called with every change."""
        for told in self.follow(timeout=timeout):
            if watch is not None:
                watch(told)
        return self

    def require_success(self) -> Job:
        """This job, or `QueryFailed` (or the problem the server wrote) when it ended without a result."""
        if self.state == "succeeded":
            return self
        problem = self.told.problem
        failed = errors.QueryFailed(
            problem.detail if problem else self.message,
            hint=problem.hint if problem else "",
            code=problem.code if problem else self.told.status_code,
            reference=problem.reference if problem and problem.reference else self.id,
        )
        failed.job = self.id
        raise failed

    def answer(self, *, timeout: float | None = None, watch: Watch | None = None) -> Answer:
        """Wait for the answer and take it. Raises `QueryFailed` when there will be none."""
        self.wait(timeout=timeout, watch=watch).require_success()
        query = self._wire.get(QueryOut, f"/v1/queries/{quote(self.id, safe='')}")
        if query.answer is None:
            raise errors.QueryFailed(
                say("The job {job} has no answer.", "作业 {job} 没有查询结果。", job=self.id), reference=self.id
            )
        return self._finish(Answer(self._wire, query.answer, job=self.id))
