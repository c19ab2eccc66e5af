"""Print the state diagrams from the state dicts: `python docs/states.py` writes `docs/states.md`.

Owns the drawing only. What is allowed is said once, in the dicts; a test holds the page to them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from access import catalogue, grants, ledger
from compute import jobs

PAGE = Path(__file__).with_name("states.md")
Moves: TypeAlias = Mapping[Any, frozenset[Any]]
Owners: TypeAlias = Mapping[Any, StrEnum]

HEAD = """# States · 状态

Printed from the state dicts by `python docs/states.py`; do not edit. An arrow is an allowed move; everything else is
refused. The table says whose move it is in each state.

本页由 `python docs/states.py` 根据状态字典生成，请勿手工修改。箭头表示允许的变更，其余一律拒绝；表格说明每个状态下由谁行动。
"""

CHAPTERS: tuple[tuple[str, str, Moves, Owners], ...] = (
    ("Access request · 使用申请", "access.grants", grants.REQUEST_MOVES, grants.REQUEST_OWNERS),
    ("Grant · 授权", "access.grants", grants.GRANT_MOVES, grants.GRANT_OWNERS),
    ("Dataset · 数据集", "access.catalogue", catalogue.DATASET_MOVES, catalogue.DATASET_OWNERS),
    ("Reservation · 预留", "access.ledger", ledger.RESERVATION_MOVES, ledger.RESERVATION_OWNERS),
    ("Job · 作业", "compute.jobs", jobs.TRANSITIONS, jobs.OWNERS),
)


def diagram(moves: Moves) -> Iterator[str]:
    """One Mermaid diagram; the first state of the dict is where everything begins."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {next(iter(moves))}"
    for state, targets in moves.items():
        for target in sorted(targets):
            yield f"    {state} --> {target}"
        if not targets:
            yield f"    {state} --> [*]"
    yield "```"


def chapter(title: str, room: str, moves: Moves, owners: Owners) -> Iterator[str]:
    """A diagram and its table."""
    yield from ("", f"## {title}", "", f"`{room}`", "", *diagram(moves), "")
    yield "| state · 状态 | whose move · 由谁行动 | can become · 可变为 |"
    yield "|---|---|---|"
    for state, targets in moves.items():
        yield f"| `{state}` | {owners[state]} | {', '.join(f'`{t}`' for t in sorted(targets)) or '–'} |"


def page() -> str:
    """The whole page."""
    lines = [line for title, room, moves, owners in CHAPTERS for line in chapter(title, room, moves, owners)]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
