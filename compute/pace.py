"""When the outcome of a question may be seen: only at the end of a bucket of time, never as soon as it is there.

Owns the buckets and the waiting. How long an engine worked can depend on confidential rows (one person's rows joined with
a large public table are a large part of some questions), and everybody who asks has a watch. So an outcome of either kind,
answer or failure, is held back until `first · 2^k` seconds after the work began, for the least k that is not past already.
Between two such moments nothing tells how long the work took: whoever holds the outcome writes nothing and keeps its place
in the line of workers, so that the questions waiting behind it start at such a moment as well.

What is left is k, which has one of `moments(first, longest)` values: a question tells at most the binary logarithm of their
number by its time. Doubling keeps them few while nobody waits longer than twice the work (after the first bucket). Köpf &
Dürmuth 2009 ("A Provably Secure and Efficient Countermeasure against Timing Attacks") quantise in this way and count what
is left; Askarov, Zhang & Myers 2010 ("Predictive Black-Box Mitigation of Timing Channels") double.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The buckets of a house. `first` is the end of the first one, in seconds after the work began.

    `steady` is a clock that is never set back; `sleep` waits that many seconds.
    """

    first: float = 0.25
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def hold(self, began: float) -> None:
        """Wait for the end of the bucket of work that began at `began` (of `steady`)."""
        spent = self.steady() - began
        self.sleep(self.first * 2 ** bucket(spent, self.first) - spent)


def bucket(spent: float, first: float) -> int:
    """The least k >= 0 whose end, `first · 2^k` seconds, is not past after `spent` seconds of work."""
    k = 0
    while first * 2**k < spent:
        k += 1
    return k


def moments(first: float, longest: float) -> int:
    """At how many different moments the outcome of work of at most `longest` seconds may be seen."""
    return bucket(longest, first) + 1
