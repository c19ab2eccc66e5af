"""Keys, and values that are counted, as numbers: what a version's numbers stand for, and the codes that they make together.

Owns the lists behind `privacy.sql.plan.Codes`. A key's rows carry the number of a stored value; what the key is for that value is
looked up here, once for each value and not for each row. Where something has no numbers there are none, and the reference
answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import le
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from privacy.facts import Kind
from privacy.sql.plan import Aggregate, Cell, Codes, Grouping, Key

#: Codes beyond this would need more memory for empty cells than rows take; and so would codes times bins.
MAX_CODES, MAX_FINE = 2**24, 2**22
#: The digit of a number that belongs to no key: times any radix it is beyond all codes.
BEYOND = 2**30
#: Values are listed up to so many bytes.
LISTED = 64 * 2**20
BINNED = (Aggregate.QUANTILE, Aggregate.DISTINCT)

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Digits:
    """One key as a digit: its values by digit, the digit of each number in `coded_sql` (the last: of all numbers beyond).

    `plain`: numbers are digits as they stand. `missing`: the number of rows that have none; None where all have one.
    """

    kind: Kind
    values: Sequence[Any]
    digits: Integers
    plain: bool
    missing: int | None

    def places(self) -> dict[object, int]:
        """The digit of each value, as it compares."""
        return {v: i for i, v in enumerate(comparable(self.values, self.kind))}

    def ranks(self) -> Integers:
        """The place of each digit's value among all values in ascending order, NULL last."""
        values = self.values
        many = len(values) - (None in values[-1:])
        if None not in values[:many] and all(map(le, values[: many - 1], values[1:many])):  # as dictionaries are
            return np.arange(len(values))
        known = sorted((i for i, v in enumerate(values) if v is not None), key=values.__getitem__)
        ranks = np.full(len(values), len(values), np.int64)
        ranks[known] = np.arange(len(known))
        return ranks


@dataclass(frozen=True, slots=True)
class Numbers:
    """A grouping's keys as digits, and how many values each DISTINCT may count."""

    keys: Sequence[Digits]
    values: Sequence[int]

    @property
    def codes(self) -> int:
        """How many codes the digits of the keys make: in mixed radix, the last key's fastest."""
        return math.prod(len(key.values) for key in self.keys)

    def bins(self, grouping: Grouping) -> list[int]:
        """The bins of each binned statistic."""
        counted = iter(self.values)
        return [
            s.order.bins if s.order is not None else next(counted) for s in grouping.measured if s.aggregate in BINNED
        ]

    def are_few(self, grouping: Grouping) -> bool:
        """Whether there is room for an array of all codes, and of all bins."""
        return self.codes <= MAX_CODES and all(self.codes * bins <= MAX_FINE for bins in self.bins(grouping))

    def cells(self, codes: Integers) -> tuple[list[Cell], Integers]:
        """The cells of these codes in the order of the keys (NULL last), and the codes in that order."""
        digits, rest = [], codes
        for key in reversed(self.keys):
            rest, digit = np.divmod(rest, len(key.values))
            digits.append(digit)
        order = np.lexsort([key.ranks()[d] for key, d in zip(reversed(self.keys), digits, strict=True)])
        columns = [
            list(map(key.values.__getitem__, d[order].tolist()))
            for key, d in zip(self.keys, reversed(digits), strict=True)
        ]
        return list(zip(*columns, strict=True)), codes[order]

    def codes_of(self, cells: Sequence[Cell]) -> Integers:
        """The code of each cell; one beyond all codes for a cell with a value that the version does not have."""
        codes = np.zeros(len(cells), np.int64)
        for i, key in enumerate(self.keys):
            place = key.places()
            column = comparable((cell[i] for cell in cells), key.kind)
            digits = np.array([place.get(v, BEYOND) for v in column], np.int64)
            codes = codes * len(key.values) + digits
        return codes


def numbers_of(connection: duckdb.DuckDBPyConnection, grouping: Grouping) -> Numbers | None:
    """The grouping's numbers; None where a key, or a value that is counted, has none.

    A text column of very many values is stored as text, without any; an empty table lists none. What is made of the values may be
    too long to be listed.
    """
    if not grouping.coded_sql:
        return None
    width = len(grouping.keys)
    try:
        connection.sql(grouping.coded_sql)
        keys = [
            _digits(connection, key, codes) for key, codes in zip(grouping.keys, grouping.codes[:width], strict=True)
        ]
        return Numbers(keys, [len(_listed(connection, c.lookup)) for c in grouping.codes[width:]])
    except (duckdb.BinderException, TooLong):  # before any row is read
        return None


class TooLong(Exception):
    """The values of a key take more memory than a list of them is worth."""


def _listed(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    """The values that a query lists; their texts are the asker's making, and the memory is ours."""
    found: list[Any] = []
    size = 0
    with closing(connection.sql(sql).to_arrow_reader()) as reader:
        for record in reader:
            size += record.nbytes
            if size > LISTED:
                raise TooLong
            found += record.column(0).to_pylist()
    return found


def _digits(connection: duckdb.DuckDBPyConnection, key: Key, codes: Codes) -> Digits:
    listed = _listed(connection, codes.lookup) if codes.lookup else [*codes.values, None]
    seen = comparable(listed, key.kind)
    numbers = len(seen) if codes.nullable else len(seen) - 1
    values = list(dict.fromkeys(seen[:numbers])) if key.domain is None else list(key.domain)
    if key.domain is None and len(values) == numbers:  # long lists are of this kind: all values differ
        rest = [values.index(v) if v in values else BEYOND for v in seen[numbers:]]
        digits = np.concatenate([np.arange(numbers), np.array([*rest, BEYOND], np.int64)])
    else:
        place = {v: i for i, v in enumerate(comparable(values, key.kind))}
        digits = np.array([*(place.get(v, BEYOND) for v in seen), BEYOND], np.int64)
    return Digits(
        kind=key.kind,
        values=values,
        digits=digits,
        plain=len(values) == numbers and bool((digits[:numbers] == np.arange(numbers)).all()),
        missing=len(seen) - 1 if codes.nullable else None,
    )


def comparable(values: Iterable[Any], kind: Kind) -> list[Any]:
    """Keys as they compare: numbers as their doubles, everything else exactly (integers beyond 2^53 differ)."""
    if kind is Kind.NUMBER:
        return [None if v is None else float(str(v)) for v in values]
    if kind is Kind.INTEGER:
        return [None if v is None else int(str(v)) for v in values]
    return list(values)
