"""How exact an answer shall be, as people write it: `200`, `"5%"`.

Owns the reading of such a wish. Finding the price is the server's.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from sandbox.client import errors
from sandbox.say import say
from sandbox.wire import ShareIn, ShareOfIn, WidthIn, WithinIn

Within = str | float
#: Refusals that a pilot helps against: nobody knows yet how large the values are.
PILOT_HELPS = frozenset({"ask.size_unknown", "ask.size_unclear"})


def read_wish(within: Within | None, of: float | None, columns: Sequence[str]) -> WithinIn | None:
    """The wish: ± `within` in the column's unit, or with "%" as a share of the value or of the size `of`.

    It holds for the named columns, all values when none is named. Raises `Malformed` for what is no wish.
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    if within is None:
        if of is not None or names:
            raise _malformed()
        return None
    text = str(within).strip()
    try:
        if text.endswith(("%", "％")):
            share = float(text[:-1]) / 100
            return ShareIn(share=share, columns=names) if of is None else ShareOfIn(share=share, of=of, columns=names)
        if of is not None:
            raise _malformed()
        return WidthIn(half_width=float(text), columns=names)
    except (ValueError, ValidationError) as error:
        raise _malformed() from error


def _malformed() -> errors.Malformed:
    return errors.Malformed(
        say("This is no accuracy to ask for.", "无法识别所要求的精度。"),
        hint=say(
            "within is a positive number in the column's unit (200), or a share of the value up to 100 % (5%); a share may be of "
            "a size that you suppose (of). Name columns to make only those exact.",
            "within 为以列的单位计的正数（如 200），或不超过 100% 的数值比例（如 5%）；比例可配合您估计的大小（of）。"
            "指明列名时，仅要求这些列达到该精度。",
        ),
    )
