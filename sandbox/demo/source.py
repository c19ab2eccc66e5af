"""What a steward brings to the house: files, each for one table of one dataset, and the description of each dataset.

Owns the noun `Source` and where the descriptions of the demo's datasets lie. It never reads a file's rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

DATASETS = ("health/visits", "economy/enterprises", "research/rand-hie", "research/wage-panel")
"""The demo's datasets, in the order in which the story meets them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One raw file, CSV or Parquet, for one table of one dataset."""

    dataset: str
    table: str
    path: Path


def description(dataset: str) -> str:
    """The YAML text that describes one of the demo's datasets."""
    name = f"{dataset.replace('/', '-')}.yaml"
    return files("sandbox.demo").joinpath(name).read_text(encoding="utf-8")
