"""How figures look: a value with its ±, a budget gauge, a table for the terminal, and the same as HTML.

Owns the drawing primitives that answers, cards and the command line share. It does no I/O and knows no route. A noisy
value is never drawn without its uncertainty: where no interval is stated, it says so. HTML is escaped by construction
(`tag` escapes every text) and self-contained: no script, no font, no address.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from io import StringIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sandbox.say import say
from sandbox.wire import BudgetOut

Interval = tuple[float, float]
Ends = Interval | tuple[str, str]
"""The ends of an interval as they travel: days and moments are text."""
GAUGE_WIDTH = 24
#: Numbers beyond this are written with an exponent; below it, every digit is exact.
_TOO_LONG = 10**21
_EXACT = Context(prec=64)


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str) -> Html:
    """One element. Children that are not `Html` are escaped; `class_` is written as `class`."""
    inside = "".join(child if isinstance(child, Html) else html.escape(_visible(child)) for child in children)
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{inside}</{name}>")


STYLE = Html(
    "<style>.dos{font:14px/1.5 system-ui,-apple-system,'Segoe UI','Noto Sans SC','PingFang SC','Microsoft YaHei',sans-serif;"
    "border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-radius:8px;padding:14px 18px;"
    "display:inline-block;max-width:100%;box-sizing:border-box}"
    ".dos h3{margin:0 0 2px;font-size:16px}.dos p{margin:4px 0}.dos .dim{opacity:.68;font-size:12.5px}"
    ".dos .scroll{overflow-x:auto;max-height:32em}.dos table{border-collapse:collapse;margin:8px 0;font-size:13.5px}"
    ".dos th,.dos td{padding:3px 12px 3px 0;text-align:left;border:0;background:none}"
    ".dos th{border-bottom:1px solid color-mix(in srgb,currentColor 35%,transparent);font-weight:600;white-space:nowrap}"
    ".dos td.num,.dos th.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".dos .pm{opacity:.62;font-size:12px}.dos svg{vertical-align:middle}"
    ".dos .chip{border:1px solid color-mix(in srgb,currentColor 30%,transparent);border-radius:9px;padding:0 8px;"
    "font-size:12px;margin-right:6px;display:inline-block}</style>"
)


def card(*children: str) -> str:
    """The frame every HTML representation stands in."""
    return tag("div", STYLE, *children, class_="dos")


def paragraph(text: str, *, dim: bool = False) -> Html:
    """One line of prose."""
    return tag("p", text, class_="dim" if dim else "say")


def html_table(headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Html:
    """A table; numeric columns stand to the right."""
    kinds = ["num" if one else "txt" for one in numeric]
    head = tag("tr", *[tag("th", text, class_=kind, scope="col") for text, kind in zip(headers, kinds, strict=True)])
    body = [tag("tr", *[tag("td", c, class_=k) for c, k in zip(row, kinds, strict=True)]) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Table:
    """The same table for a terminal. Cells are plain text: no markup in them is interpreted."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for header, right in zip(headers, numeric, strict=True):
        table.add_column(Text(clean(header)), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(clean(cell)) for cell in row])
    return table


def clean(text: str) -> str:
    """Text without control characters, so that a value can never drive a terminal."""
    return "".join(c if c.isprintable() else "·" for c in text)


def _visible(text: str) -> str:
    """The same for HTML, where line breaks and tabs do no harm."""
    return "".join(c if c.isprintable() or c in "\n\t" else "·" for c in text)


def clean_lines(text: str) -> str:
    """The same for prose of several lines."""
    return "\n".join(clean(line) for line in text.splitlines())


def json_text(value: object) -> str:
    """Any JSON value, readable."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def plain(*parts: RenderableType, width: int = 100) -> str:
    """What a terminal would show, as text without colours; for `__repr__`."""
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def number(value: float, places: int | None = None) -> str:
    """A number with thousands separators; `places` digits after the point, or before it when negative."""
    if isinstance(value, float) and not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "?"
    if places is None:
        whole = isinstance(value, int) and abs(value) < _TOO_LONG
        return (
            f"{value:,}"
            if whole
            else f"{Decimal(value):.6g}"
            if isinstance(value, int)
            else _short(f"{value:,.6g}", value)
        )
    if abs(value) >= _TOO_LONG:
        return f"{Decimal(value):.6g}"
    rounded = Decimal(str(value)).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN, context=_EXACT)
    return f"{rounded:,.{max(0, places)}f}"


def _short(text: str, value: float) -> str:
    return f"{value:,.0f}" if "e+" in text and abs(value) < 1e15 else text


def places_for(half: float) -> int:
    """How many digits after the point two significant digits of `half` need."""
    if not math.isfinite(half) or half <= 0:
        return 0
    return min(9, 1 - math.floor(math.log10(half)))


def numbers(ends: Ends | None) -> Interval | None:
    """The ends of an interval of numbers; None of any other."""
    return None if ends is None or isinstance(ends[0], str) else ends


def figure(value: object, ends: Ends | None) -> tuple[str, str]:
    """A noisy value and its uncertainty, both as text: ("1,234", "± 15"), ("0.41", "[0.38 … 0.47]"), ("NULL", "± ?").

    The value is written to the two digits of its uncertainty that mean something. An interval that is not symmetric
    around the value (a ratio's), or is one of days, is written with its two ends.
    """
    interval = numbers(ends)
    if value is None:
        return "NULL", "± ?" if interval is None else f"[{number(interval[0])} … {number(interval[1])}]"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) or "“”", "± ?" if ends is None or interval else f"[{ends[0]} … {ends[1]}]"
    if interval is None:
        return number(value), "± ?"
    low, high = interval
    half = (high - low) / 2
    places = places_for(half)
    if not math.isfinite(half):
        return number(value), f"[{number(low)} … {number(high)}]"
    shown = number(value, places) if half > 0 else number(value)
    if abs((low + high) / 2 - value) <= half * 0.02 + 1e-12 * abs(value):
        return shown, f"± {number(half, places) if half > 0 else '0'}"
    return shown, f"[{number(low, places)} … {number(high, places)}]"


def band(value: object, ends: Ends | None, low: float, high: float) -> Html:
    """A small drawing of a number and its interval on the common scale from `low` to `high`."""
    span, interval = high - low, numbers(ends)
    if interval is None or not isinstance(value, int | float) or not (math.isfinite(span) and span > 0):
        return Html("")
    width = 96.0
    left, right = ((min(max(one, low), high) - low) / span * width for one in interval)
    middle = (min(max(value, low), high) - low) / span * width
    return Html(
        f'<svg width="100" height="12" viewBox="-2 0 100 12" aria-hidden="true"><rect x="0" y="5.5" width="{width:.0f}" '
        f'height="1" fill="currentColor" opacity=".18"/><rect x="{left:.1f}" y="3" width="{max(1.0, right - left):.1f}" '
        f'height="6" rx="3" fill="#2f6fde" opacity=".38"/><rect x="{middle - 1:.1f}" y="1" width="2" height="10" '
        f'fill="#2f6fde"/></svg>'
    )


def epsilon(value: float | None) -> str:
    """An epsilon for people: three significant digits; None means without limit."""
    return "∞" if value is None else f"{value:.3g}"


def share_left(account: BudgetOut) -> float:
    """The part of an account that is left, between 0 and 1: of rho, or of what selects private keys if that is less.

    Losses add up in rho and in delta, never in epsilon, so these are the shares that mean something.
    """
    return min(_rho_left(account), _delta_left(account))


def _rho_left(account: BudgetOut) -> float:
    return _share(account.remaining.rho_units, account.limit.rho_units)


def _delta_left(account: BudgetOut) -> float:
    limit = account.limit.delta_units
    return _share(account.remaining.delta_units, limit) if limit else 1.0


def _share(left: int, limit: int) -> float:
    return min(1.0, max(0.0, left / limit)) if limit > 0 else 0.0


def gauge_label(account: BudgetOut) -> str:
    """Whose budget a gauge shows."""
    if account.project is None:
        return say("{dataset}, all projects", "{dataset}，全部项目合计", dataset=account.dataset)
    return say(
        "{dataset}, project {project}", "{dataset}，项目 {project}", dataset=account.dataset, project=account.project
    )


def gauge_words(account: BudgetOut) -> str:
    """What a gauge shows, in words."""
    words = say(
        "{share:.0%} left: epsilon {left} of {limit} at delta {delta:.1e}",
        "剩余 {share:.0%}：delta {delta:.1e} 下 epsilon {left} / {limit}",
        share=share_left(account),
        left=epsilon(account.remaining.epsilon),
        limit=epsilon(account.limit.epsilon),
        delta=account.limit.delta,
    )
    if _delta_left(account) < _rho_left(account):
        words += say("; selecting private keys used the rest", "；其余已用于筛选私有键")
    return words


def spent_words(account: BudgetOut) -> str:
    """What was spent by the ledger and, for information, by a numerical accountant; empty when nothing was."""
    beside = account.spent_gaussian_epsilon
    if beside is None or not account.spent.rho_units:
        return ""
    return say(
        "spent: epsilon {spent} by the ledger (zCDP, what is promised); a numerical accountant would say {beside} of Gaussian "
        "noise (information only)",
        "已用：按账本为 epsilon {spent}（zCDP，以此为准）；若全部为高斯噪声，数值核算为 {beside}（仅供参考）",
        spent=epsilon(account.spent.epsilon),
        beside=epsilon(beside),
    )


def gauge(account: BudgetOut) -> Text:
    """One account as a bar: what is left is full, what was spent is empty; words beside it, never colour alone."""
    left = share_left(account)
    full = math.ceil(left * GAUGE_WIDTH) if left > 0 else 0
    colour = "green" if left > 0.5 else "yellow" if left > 0.15 else "red"
    line = Text(no_wrap=True)
    line.append("█" * full, style=colour)
    line.append("░" * (GAUGE_WIDTH - full), style="dim")
    line.append(f" {gauge_words(account)}")
    line.append(f"  ({clean(gauge_label(account))})", style="dim")
    return line


def html_gauge(account: BudgetOut) -> Html:
    """The same bar as HTML."""
    left = share_left(account)
    colour = "#2c8a4b" if left > 0.5 else "#b88207" if left > 0.15 else "#c0392b"
    bar = Html(
        f'<svg width="160" height="10" role="img" aria-label="{html.escape(gauge_words(account))}"><rect width="160" '
        f'height="10" rx="5" fill="currentColor" opacity=".15"/><rect width="{160 * left:.1f}" height="10" rx="5" '
        f'fill="{colour}"/></svg>'
    )
    return tag("p", bar, f"  {gauge_words(account)} ", tag("span", f"({gauge_label(account)})", class_="dim"))
