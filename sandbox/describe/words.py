"""Pydantic's error types in words a steward understands, in both languages.

Owns the translation and nothing else: an error type and its context in, one sentence out. A type it does not know still
gets a true sentence, never pydantic's own English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from privacy.errors import Text

Context = Mapping[str, object]


def sentence_for(kind: str, context: Context, name: str, allowed: tuple[str, ...]) -> Text:
    """The sentence for one error of that pydantic type at the field `name`; `allowed` are the fields beside it."""
    if kind == "extra_forbidden":
        return _unknown_field(name, allowed)
    words = _WORDS.get(kind)
    return words(context) if words else Text("this value is not allowed here.", "此处不允许该值。")


def _unknown_field(name: str, allowed: tuple[str, ...]) -> Text:
    close = get_close_matches(name, allowed, n=1)
    en, zh = (f" Did you mean `{close[0]}`?", f"是否指 `{close[0]}`？") if close else ("", "")
    listed = ", ".join(allowed)
    return Text(f"unknown field.{en} Allowed here: {listed}.", f"未知字段。{zh}此处可用：{listed}。")


def _plain(en: str, zh: str) -> Callable[[Context], Text]:
    return lambda _: Text(en, zh)


def _filled(en: str, zh: str) -> Callable[[Context], Text]:
    return lambda context: Text(en.format_map(context), zh.format_map(context))


def _choice(context: Context) -> Text:
    listed = str(context["expected"]).replace(" or ", ", ").replace("'", "")
    return Text(f"must be one of: {listed}.", f"应为以下之一：{listed}。")


_MAPPING = _plain("must be a mapping (`name: value` lines, indented).", "应为映射（缩进的“名称: 值”各行）。")
_WHOLE = _plain("must be a whole number.", "应为整数。")
_NUMBER = _plain("must be a number, for example 0.5.", "应为数值，例如 0.5。")
_BOOLEAN = _plain("must be true or false.", "应为 true 或 false。")
_DAY = _plain("must be a day, for example 2027-12-31.", "应为日期，例如 2027-12-31。")

_WORDS: dict[str, Callable[[Context], Text]] = {
    "missing": _plain("missing.", "缺失。"),
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "list_type": _plain("must be a list.", "应为列表。"),
    "string_type": _plain("must be a single value (text or number).", "应为单个值（文本或数字）。"),
    "string_too_short": _plain("must not be empty.", "不能为空。"),
    "string_too_long": _filled("at most {max_length} characters.", "最多 {max_length} 个字符。"),
    "string_pattern_mismatch": _plain(
        "must be lower-case segments of letters, digits and single hyphens, joined by `/`, for example health/visits.",
        "应为以 `/` 连接的小写段（字母、数字、单个连字符），例如 health/visits。",
    ),
    "too_short": _filled("needs at least {min_length} entry.", "至少需要 {min_length} 项。"),
    "too_long": _filled("at most {max_length} entries.", "最多 {max_length} 项。"),
    "literal_error": _choice,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "date_type": _DAY,
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "greater_than": _filled("must be above {gt}.", "应大于 {gt}。"),
    "greater_than_equal": _filled("must be at least {ge}.", "应不小于 {ge}。"),
    "less_than": _filled("must be below {lt}.", "应小于 {lt}。"),
    "less_than_equal": _filled("must be at most {le}.", "应不大于 {le}。"),
    "bad_name": _plain(
        "a name has 1 to 64 characters of any script, does not begin with `_` or a space, and holds no control or "
        "invisible characters.",
        "名称为 1 至 64 个字符，可用任何文字，不以 `_` 或空格开头，不含控制字符或不可见字符。",
    ),
}
