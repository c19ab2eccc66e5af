"""The page of state diagrams is what the dicts say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current() -> None:
    printed = runpy.run_path(str(DOCS / "states.py"))["page"]()
    assert (DOCS / "states.md").read_text(encoding="utf-8") == printed, "run: python docs/states.py"


def test_every_state_dict_is_complete_and_has_one_owner_a_state() -> None:
    for title, _, moves, owners in runpy.run_path(str(DOCS / "states.py"))["CHAPTERS"]:
        states = type(next(iter(moves)))
        assert set(moves) == set(owners) == set(states), title
        assert {target for targets in moves.values() for target in targets} <= set(states)
