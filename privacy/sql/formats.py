"""The formats of STRFTIME that are accepted, and every text that one can give between two days.

Owns the marks (`%Y`, `%m`, …) and their meaning. A text that is written of public days alone is a public key, when there are
few of them. It never reads a clock and knows no locale: the names of days and months are English, as in DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from functools import lru_cache
from itertools import product

from privacy.sql.terms import MAX_DERIVED_DOMAIN, days_by

MAX_FORMAT = 40
NAMES_OF_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES_OF_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip

#: What is written of a day.
_OF_DAY: dict[str, Callable[[date], str]] = {
    "Y": lambda d: f"{d.year:04}",
    "y": lambda d: f"{d.year % 100:02}",
    "m": lambda d: f"{d.month:02}",
    "b": lambda d: NAMES_OF_MONTHS[d.month - 1][:3],
    "B": lambda d: NAMES_OF_MONTHS[d.month - 1],
    "d": lambda d: f"{d.day:02}",
    "j": lambda d: f"{d.timetuple().tm_yday:03}",
    "G": lambda d: f"{d.isocalendar()[0]:04}",
    "V": lambda d: f"{d.isocalendar()[1]:02}",
    "u": lambda d: str(d.isoweekday()),
    "w": lambda d: str(d.isoweekday() % 7),
    "a": lambda d: NAMES_OF_DAYS[d.weekday()][:3],
    "A": lambda d: NAMES_OF_DAYS[d.weekday()],
}
#: What is written of the time of day, and how many values it has.
_OF_TIME = {"H": 24, "M": 60, "S": 60}
MARKS = (*_OF_DAY, *_OF_TIME, "%")
#: Days after which what is written without a year has come round: every month has had all its days, every week its number.
_ROUND = 3_000
#: Before, DuckDB writes a year with fewer digits.
_FIRST_YEAR = 1000


def pieces_of(text: str) -> list[tuple[bool, str]] | None:
    """A format in order, as (whether it is a mark, character); None when it holds a mark that is not accepted."""
    found: list[tuple[bool, str]] = []
    characters = iter(text)
    for character in characters:
        marked = character == "%"
        found.append((marked, next(characters, "") if marked else character))
    accepted = len(text) <= MAX_FORMAT and all(c in MARKS for marked, c in found if marked)
    return found if accepted else None


def of_time(pieces: Iterable[tuple[bool, str]]) -> list[str]:
    """The marks that need a time of day."""
    return [c for c in _marks(pieces) if c in _OF_TIME]


def _marks(pieces: Iterable[tuple[bool, str]]) -> list[str]:
    return list(dict.fromkeys(c for marked, c in pieces if marked))


def texts(pieces: list[tuple[bool, str]], since: date | None, until: date | None) -> tuple[str, ...] | None:
    """Every text that a format can give between two days in ascending order; None when they are too many or not known."""
    if since is None or until is None or since.year < _FIRST_YEAR:
        return None
    dated, timed = tuple(sorted(c for c in _marks(pieces) if c in _OF_DAY)), of_time(pieces)
    written = _written(dated, since, until)
    if written is None:
        return None
    clock = [[f"{n:02}" for n in range(_OF_TIME[c])] for c in timed]
    found: set[str] = set()
    for of_day in written:
        for values in product(*clock):
            filled = dict(zip((*dated, *timed), (*of_day, *values), strict=True))
            found.add("".join(filled.get(c, c) if marked else c for marked, c in pieces))
            if len(found) > MAX_DERIVED_DOMAIN:
                return None
    return tuple(sorted(found))


@lru_cache(maxsize=128)
def _written(dated: tuple[str, ...], since: date, until: date) -> tuple[tuple[str, ...], ...] | None:
    """What the marks of a day are between two days, every combination once."""
    days = _days(dated, since, until)
    return None if days is None else tuple(dict.fromkeys(tuple(_OF_DAY[c](day) for c in dated) for day in days))


def _days(dated: tuple[str, ...], since: date, until: date) -> Iterable[date] | None:
    """Days in which every value of the marks occurs that occurs between the two days; None when that is not known of few."""
    if set(dated) <= set("YymbB"):
        return days_by("month", since, until)
    count = (until - since).days + 1
    if count > _ROUND and not (set(dated) <= set("mbBdj") or (len(dated) == 1 and dated[0] != "G")):
        return None
    return (since + timedelta(days=n) for n in range(min(count, _ROUND)))
