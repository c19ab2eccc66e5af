"""What makes a column's bounds, lattice and domain sensible, and the typed values they stand for.

Owns the rules about one column of a description: pure functions from the text a steward wrote to values or to sentences
about what is wrong. They read no file and no data. Law 2 rests on them: bounds and keys lie on the declared lattice, and a
lattice number always fits 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from privacy.errors import Text
from privacy.facts import Kind, Value

LARGEST_DERIVED_DOMAIN = 10_000
#: |value / step| may reach this: sums of a million rows of it still fit 128 bits, and one value fits 64.
LARGEST_LATTICE = 10**15
#: Finer or longer steps than these would leave 38 digits, the widest exact number of the engines.
FINEST_STEP = -9
LONGEST_STEP = 8
_LARGEST_EXPONENT = 18

Bound = Decimal | date | datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """One column as written: every value still the steward's text."""

    kind: Kind
    lower: str | None = None
    upper: str | None = None
    step: str | None = None
    public: bool = False
    domain: tuple[str | None, ...] | None = None
    unique: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """One column as understood."""

    lower: Bound | None
    upper: Bound | None
    step: Decimal
    domain: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrong:
    """What is wrong with which field, relative to the column."""

    path: tuple[str | int, ...]
    sentence: Text


def number(text: str) -> Decimal:
    """A finite decimal number of sane size, or ValueError."""
    try:
        found = Decimal(text.strip())
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not found.is_finite() or (found and not -_LARGEST_EXPONENT <= found.adjusted() <= _LARGEST_EXPONENT):
        raise ValueError(text)
    if len(found.as_tuple().digits) > 2 * _LARGEST_EXPONENT:
        raise ValueError(text)
    return found


def whole(text: str) -> Decimal:
    """A whole number, or ValueError."""
    found = number(text)
    if found != found.to_integral_value():
        raise ValueError(text)
    return found.quantize(Decimal(1))


def day(text: str) -> date:
    """A day written 2024-12-31, or ValueError."""
    if len(text) != len("2024-12-31"):
        raise ValueError(text)
    return date.fromisoformat(text)


def moment(text: str) -> datetime:
    """A moment without time zone, written 2024-12-31 23:59:59 (or only the day), or ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is not None:
        raise ValueError(text)
    return found


def truth(text: str) -> bool:
    """True or False, or ValueError."""
    return {"true": True, "false": False}[text] if text in ("true", "false") else _no(text)


def _no(text: str) -> bool:
    raise ValueError(text)


_READ: dict[Kind, Callable[[str], Value]] = {
    Kind.INTEGER: whole,
    Kind.NUMBER: number,
    Kind.TEXT: str,
    Kind.BOOLEAN: truth,
    Kind.DATE: day,
    Kind.TIMESTAMP: moment,
}

_FORM: dict[Kind, Text] = {
    Kind.INTEGER: Text("a whole number, for example 42", "整数，例如 42"),
    Kind.NUMBER: Text("a number, for example 0.01", "数值，例如 0.01"),
    Kind.TEXT: Text("a text", "文本"),
    Kind.BOOLEAN: Text("true or false", "true 或 false"),
    Kind.DATE: Text("a day, for example 2024-12-31", "日期，例如 2024-12-31"),
    Kind.TIMESTAMP: Text("a moment, for example 2024-12-31 23:59:59", "时刻，例如 2024-12-31 23:59:59"),
}


def values(declared: Declared) -> Values:
    """The typed values of a column that has no flaws."""
    read = _READ[declared.kind]
    lower = None if declared.lower is None else read(declared.lower)
    upper = None if declared.upper is None else read(declared.upper)
    step = Decimal(1) if declared.step is None else number(declared.step)
    assert not isinstance(lower, str | bool | int)
    assert not isinstance(upper, str | bool | int)
    return Values(lower=lower, upper=upper, step=step, domain=_domain(declared, lower, upper, step))


def _domain(declared: Declared, lower: Bound | None, upper: Bound | None, step: Decimal) -> tuple[Value, ...]:
    if not declared.public:
        return ()
    if declared.domain is not None:
        return tuple(_key(declared.kind, text) for text in declared.domain if text is not None)
    if declared.kind is Kind.BOOLEAN:
        return (False, True)
    assert isinstance(lower, Decimal)
    assert isinstance(upper, Decimal)
    return tuple(range(int(lower), int(upper) + 1, int(step)))


def _key(kind: Kind, text: str) -> Value:
    found = _READ[kind](text)
    return int(found) if kind is Kind.INTEGER and isinstance(found, Decimal) else found


def flaws(declared: Declared) -> Iterator[Wrong]:
    """Everything that is wrong with the column, in the order of its fields."""
    readable = True
    for wrong in (*_unreadable(declared), *_misplaced(declared)):
        readable = False
        yield wrong
    if readable:
        for rule in (_bounds, _lattice, _keys):
            found = list(rule(declared))
            yield from found
            if found:
                return


def _wrong(field: str | tuple[str | int, ...], en: str, zh: str) -> Wrong:
    return Wrong(path=(field,) if isinstance(field, str) else field, sentence=Text(en, zh))


def _unreadable(declared: Declared) -> Iterator[Wrong]:
    """Every value must have the form of the column's type."""
    form = _FORM[declared.kind]
    if declared.kind in (Kind.TEXT, Kind.BOOLEAN):
        for field in ("lower", "upper"):
            if getattr(declared, field) is not None:
                yield _wrong(field, f"a {declared.kind} column has no bounds.", f"{declared.kind} 列没有上下界。")
    else:
        for field in ("lower", "upper"):
            text = getattr(declared, field)
            if text is not None and not _reads(declared.kind, text):
                yield _wrong(field, f"must be {form.en}.", f"应为{form.zh}。")
    if declared.step is not None and not _reads(Kind.NUMBER, declared.step):
        yield _wrong("step", "must be a number above 0, for example 0.01.", "应为大于 0 的数值，例如 0.01。")
    for index, key in enumerate(declared.domain or ()):
        if key is None:
            yield _wrong(
                ("domain", index),
                "NULL is not listed; set `nullable: true`. For the word null write it in quotes.",
                "空值不列入清单，请设置 `nullable: true`；若指文本 null，请加引号。",
            )
        elif not _reads(declared.kind, key):
            yield _wrong(("domain", index), f"must be {form.en}.", f"应为{form.zh}。")


def _reads(kind: Kind, text: str) -> bool:
    try:
        _READ[kind](text)
    except ValueError:
        return False
    return True


def _misplaced(declared: Declared) -> Iterator[Wrong]:
    if declared.step is not None and not declared.kind.numeric:
        yield _wrong("step", "only integer and number columns have a step.", "只有 integer 与 number 列有步长。")
    if declared.domain is not None and not declared.public:
        yield _wrong(
            "domain",
            "a domain is given, but the keys are private. Write `keys: public`, or delete the domain.",
            "给出了键值清单，但键是私有的。请写 `keys: public`，或删除清单。",
        )
    if declared.domain is not None and declared.kind is Kind.BOOLEAN:
        yield _wrong("domain", "boolean keys are known; delete the domain.", "布尔键是已知的，请删除清单。")
    if declared.domain == ():
        yield _wrong("domain", "must list at least one key.", "至少列出一个键。")


def _bounds(declared: Declared) -> Iterator[Wrong]:
    """Both bounds or none, in order."""
    if (declared.lower is None) != (declared.upper is None):
        missing = "lower" if declared.lower is None else "upper"
        yield _wrong(missing, "missing; give both bounds or none.", "缺失；上下界应同时给出或都不给。")
    elif declared.lower is not None and declared.upper is not None:
        read = _READ[declared.kind]
        if read(declared.lower) > read(declared.upper):  # type: ignore[operator]
            yield _wrong("lower", "is above `upper`.", "大于 `upper`。")


def _lattice(declared: Declared) -> Iterator[Wrong]:
    """Bounds and keys are multiples of the step, and none is too many steps away from 0."""
    if not declared.kind.numeric:
        return
    if declared.step is None and declared.kind is Kind.NUMBER:
        yield _wrong(
            "step",
            "missing: a number column needs the spacing its values are rounded to, for example 0.01.",
            "缺失：number 列需要给出取整步长，例如 0.01。",
        )
        return
    step = number(declared.step or "1")
    yield from _step(declared.kind, step)
    if step <= 0:
        return
    for field in ("lower", "upper"):
        text = getattr(declared, field)
        if text is not None:
            yield from _on_lattice((field,), number(text), step)
    for index, text in enumerate(declared.domain or ()):
        yield from _on_lattice(("domain", index), number(text or "0"), step)


def _step(kind: Kind, step: Decimal) -> Iterator[Wrong]:
    if step <= 0:
        yield _wrong("step", "must be above 0.", "应大于 0。")
    elif kind is Kind.INTEGER and step != step.to_integral_value():
        yield _wrong("step", "an integer column needs a whole step.", "integer 列的步长应为整数。")
    elif (
        int(step.normalize().as_tuple().exponent) < FINEST_STEP
        or len(step.normalize().as_tuple().digits) > LONGEST_STEP
    ):
        yield _wrong("step", "at most 9 decimal places and 8 significant digits.", "最多 9 位小数、8 位有效数字。")


def _on_lattice(path: tuple[str | int, ...], value: Decimal, step: Decimal) -> Iterator[Wrong]:
    if abs(value) > step * LARGEST_LATTICE:
        yield _wrong(
            path, "more than 1e15 steps away from 0; use a larger step.", "距离 0 超过 1e15 个步长，请增大步长。"
        )
    elif value % step:
        yield _wrong(path, f"must be a multiple of the step {step:f}.", f"应为步长 {step:f} 的整数倍。")


def _keys(declared: Declared) -> Iterator[Wrong]:
    """Public keys need a domain: written, or derived from a boolean or a short bounded integer."""
    if declared.domain is not None:
        yield from _listed(declared)
    elif declared.public and declared.kind is not Kind.BOOLEAN:
        if declared.kind is not Kind.INTEGER or declared.lower is None or declared.upper is None:
            yield _wrong(
                "domain",
                "missing: public keys need the list of all keys (only boolean and bounded integer columns derive it).",
                "缺失：公开键需要列出全部键值（只有 boolean 与有界 integer 列可自动得出）。",
            )
            return
        count = int((whole(declared.upper) - whole(declared.lower)) / whole(declared.step or "1")) + 1
        if count > LARGEST_DERIVED_DOMAIN:
            yield _wrong(
                "keys",
                f"the bounds allow {count:,} keys; at most 10,000 can be derived. Use a larger step or private keys.",
                f"上下界内有 {count:,} 个键，最多可自动得出 10,000 个。请增大步长或使用私有键。",
            )


def _listed(declared: Declared) -> Iterator[Wrong]:
    keys = [_READ[declared.kind](text) for text in declared.domain or () if text is not None]
    lower, upper = (None if b is None else _READ[declared.kind](b) for b in (declared.lower, declared.upper))
    first: dict[Value, int] = {}
    for index, key in enumerate(keys):
        if first.setdefault(key, index) != index:
            yield _wrong(("domain", index), "listed twice.", "重复列出。")
        if lower is not None and key < lower:  # type: ignore[operator]
            yield _wrong(("domain", index), "lies below `lower`.", "小于 `lower`。")
        if upper is not None and key > upper:  # type: ignore[operator]
            yield _wrong(("domain", index), "lies above `upper`.", "大于 `upper`。")
