"""The buckets of time at whose ends outcomes are seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from compute.pace import Pace, bucket, moments

FIRSTS = st.floats(0.001, 100)
TIMES = st.floats(0, 100_000)


@given(TIMES, FIRSTS)
def test_an_end_is_never_past_and_the_one_before_always_is(spent: float, first: float) -> None:
    k = bucket(spent, first)
    assert spent <= first * 2**k
    assert k == 0 or first * 2 ** (k - 1) < spent


def test_the_ends_of_the_first_buckets() -> None:
    assert [bucket(s, 0.25) for s in (0.0, 0.01, 0.25, 0.2500001, 0.5, 0.9, 1.0, 60.0)] == [0, 0, 0, 1, 1, 2, 2, 8]


def test_the_default_limits_leave_nine_moments_and_a_bucket_as_long_as_the_limit_leaves_one() -> None:
    assert moments(0.25, 60.0) == 9
    assert moments(60.0, 60.0) == 1


@dataclass
class Wrist:
    """A watch that moves when somebody sleeps."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@given(st.lists(TIMES, min_size=2, max_size=5))
def test_outcomes_are_seen_at_the_ends_and_nowhere_else(work: list[float]) -> None:
    """However long each piece took, the moments are among `moments(first, longest)` many."""
    seen = set()
    for spent in work:
        watch = Wrist(now=0.0)
        watch.now = spent
        Pace(first=0.5, steady=lambda at=watch: at.now, sleep=watch.sleep).hold(0.0)  # type: ignore[misc]
        assert all(seconds >= 0 for seconds in watch.slept)
        seen.add(round(watch.now, 6))
    assert seen <= {0.5 * 2**k for k in range(moments(0.5, max(work)))}
