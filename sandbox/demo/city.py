"""The demo city: a synthetic province with residents, hospital visits and enterprises, the same for the same seed.

Owns the generator and the public word lists (cities, hospitals, departments, trades) that its descriptions repeat; a test
compares the two. Nobody in it exists. It never touches the product: it writes the files that a steward would upload, with
the blemishes real files have (rows without an identifier, a misspelt department, a refund below zero), so that the ingest
report has something to say. Contributions are skewed on purpose: most residents have few visits, a few have very many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sandbox.demo.source import Source

Numbers = np.ndarray[Any, np.dtype[Any]]

CITIES = (
    ("云海", "沿海"),
    ("青屿", "沿海"),
    ("望潮", "沿海"),
    ("金沙湾", "沿海"),
    ("平川", "平原"),
    ("稻香", "平原"),
    ("河阳渡", "平原"),
    ("长桥", "平原"),
    ("梅岭关", "山区"),
    ("凤鸣山", "山区"),
    ("松溪口", "山区"),
    ("云岭", "山区"),
)
"""City and region; the first is the largest."""

HOSPITALS = tuple(
    (f"{city}{kind}", city, level)
    for rank, (city, _) in enumerate(CITIES)
    for kind, level in (("市人民医院", "三级"), ("中医院", "二级"), ("社区卫生中心", "一级"))
    if rank < 6 or level != "二级"
)
"""Hospital, the city it lies in, and its level; small cities have no hospital of traditional medicine."""

DEPARTMENTS = (
    "内科",
    "外科",
    "儿科",
    "妇产科",
    "急诊科",
    "骨科",
    "眼科",
    "口腔科",
    "皮肤科",
    "中医科",
    "心血管科",
    "神经科",
    "肿瘤科",
    "肾病科",
    "精神科",
    "康复科",
)
SEXES = ("女", "男")
DIAGNOSES = 900
DISTRICTS = ("滨江区", "东港区", "西岭区", "南湖区", "北苑区", "高新区", "临空区", "古城区")
SCALES = ("微型", "小型", "中型", "大型")
TRADES = (
    ("农林牧渔业", "第一产业"),
    ("制造业", "第二产业"),
    ("建筑业", "第二产业"),
    ("电力热力供应业", "第二产业"),
    ("批发零售业", "第三产业"),
    ("交通运输业", "第三产业"),
    ("住宿餐饮业", "第三产业"),
    ("信息技术服务业", "第三产业"),
    ("金融业", "第三产业"),
    ("房地产业", "第三产业"),
    ("科学研究服务业", "第三产业"),
    ("卫生社会工作", "第三产业"),
)
"""Trade and the sector of the economy it belongs to."""

_DEPARTMENT_WEIGHTS = (16, 9, 9, 7, 6, 6, 4, 6, 4, 7, 7, 5, 3, 2, 3, 6)
_FEE = (180, 420, 150, 380, 300, 360, 210, 320, 130, 160, 480, 400, 900, 620, 260, 240)
_TRADE_WEIGHTS = (4, 16, 9, 1, 26, 6, 10, 9, 2, 4, 7, 6)
_DAYS = 365


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large the city is."""

    persons: int = 200_000
    visits: int = 1_500_000
    enterprises: int = 20_000


DEMO_SIZE = Size()
TEST_SIZE = Size(persons=3_000, visits=20_000, enterprises=600)


def write_city(folder: Path, *, seed: int = 20_250_601, size: Size = DEMO_SIZE) -> tuple[Source, ...]:
    """Write every file of the city's two datasets below `folder` and say which dataset and table each belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    residents = _residents(rng, size.persons)
    tables = {
        ("health/visits", "residents"): residents,
        ("health/visits", "visits"): _visits(rng, residents, size.visits),
        ("economy/enterprises", "企业"): (firms := _enterprises(rng, size.enterprises)),
        ("economy/enterprises", "月度用工"): _months(rng, firms),
    }
    written = [_parquet(folder, dataset, name, table) for (dataset, name), table in tables.items()]
    return (*written, *_side_tables(folder))


def _parquet(folder: Path, dataset: str, table: str, content: pa.Table) -> Source:
    path = folder / f"{dataset.replace('/', '-')}-{table}.parquet"
    pq.write_table(content, path, compression="zstd")
    return Source(dataset=dataset, table=table, path=path)


def _side_tables(folder: Path) -> tuple[Source, ...]:
    """The public side tables, as the CSV files an office would send: one of them in GB18030."""
    return (
        _csv(folder, "health/visits", "cities", ("city", "region"), CITIES, "utf-8"),
        _csv(folder, "health/visits", "hospitals", ("hospital", "city", "level"), HOSPITALS, "gb18030"),
        _csv(folder, "economy/enterprises", "行业分类", ("行业", "产业"), TRADES, "gb18030"),
    )


def _csv(
    folder: Path, dataset: str, table: str, header: Sequence[str], rows: Sequence[Sequence[str]], encoding: str
) -> Source:
    path = folder / f"{dataset.replace('/', '-')}-{table}.csv"
    path.write_text("".join(",".join(row) + "\n" for row in (header, *rows)), encoding=encoding)
    return Source(dataset=dataset, table=table, path=path)


def _coded(codes: Numbers, words: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(list(words), pa.string()))


def _identifiers(rng: np.random.Generator, count: int, prefix: str) -> Numbers:
    """Unique identifiers in no order that says anything."""
    return np.char.add(prefix, np.char.zfill(rng.permutation(count * 7)[:count].astype(str), 8))


def _skewed(rng: np.random.Generator, count: int, exponent: float, total: int) -> Numbers:
    """`total` draws of 0 … count-1 whose frequencies fall like a power of the rank."""
    edges = np.cumsum(np.arange(1, count + 1) ** -exponent)
    drawn: Numbers = np.searchsorted(edges, rng.random(total) * edges[-1]).astype(np.int64)
    return drawn


def _weighted(rng: np.random.Generator, weights: Sequence[float], total: int) -> Numbers:
    edges = np.cumsum(np.asarray(weights, float))
    drawn: Numbers = np.searchsorted(edges, rng.random(total) * edges[-1]).astype(np.int64)
    return drawn


def _residents(rng: np.random.Generator, persons: int) -> pa.Table:
    age = np.clip(rng.gamma(4.2, 10.0, persons) - 3, 0, 104).astype(np.int16)
    return pa.table(
        {
            "person_id": pa.array(_identifiers(rng, persons, "R")),
            "sex": _coded(_weighted(rng, (1, 1), persons), SEXES),
            "age": pa.array(age),
            "city": _coded(_skewed(rng, len(CITIES), 0.9, persons), [c for c, _ in CITIES]),
            "insured": pa.array(rng.random(persons) < np.where(age < 60, 0.94, 0.985)),
        }
    )


def _visits(rng: np.random.Generator, residents: pa.Table, visits: int) -> pa.Table:
    """Visits of the residents: a lognormal appetite for care, and one in five hundred who comes very often."""
    persons = residents.num_rows
    ages = residents["age"].to_numpy()
    appetite = rng.lognormal(0, 0.6, persons) * (0.4 + ages / 50)
    appetite[rng.random(persons) < 0.002] *= 8
    person = _weighted(rng, appetite, visits)
    department = _weighted(rng, _DEPARTMENT_WEIGHTS, visits)
    emergency = (department == DEPARTMENTS.index("急诊科")) | (rng.random(visits) < 0.02)
    # Winter is busier than summer.
    day = np.floor(_DAYS * (rng.random(visits) + 0.06 * np.sin(2 * np.pi * rng.random(visits)))).clip(0, _DAYS - 1)
    dates = np.datetime64("2025-01-01") + day.astype("timedelta64[D]")
    return _with_blemishes(
        rng,
        {
            "person_id": residents["person_id"].combine_chunks().take(pa.array(person)),
            "hospital": _coded(_hospitals_of(rng, residents, person), [h for h, _, _ in HOSPITALS]),
            "city": residents["city"].combine_chunks().take(pa.array(person)),
            "department": _coded(department, (*DEPARTMENTS, "外 科")),
            "diagnosis": _coded(_skewed(rng, DIAGNOSES, 0.8, visits), [f"D{n:03d}" for n in range(DIAGNOSES)]),
            "visited_on": pa.array(dates.astype("datetime64[D]")),
            "sex": residents["sex"].combine_chunks().take(pa.array(person)),
            "age": pa.array(ages[person]),
            "emergency": pa.array(emergency),
            "amount": np.round(rng.lognormal(-0.35, 0.8, visits) * np.asarray(_FEE, float)[department], 2),
        },
    )


def _hospitals_of(rng: np.random.Generator, residents: pa.Table, person: Numbers) -> Numbers:
    """Four of five visits are to a hospital of one's own city."""
    home = residents["city"].combine_chunks().indices.to_numpy()[person]
    by_city = [[n for n, h in enumerate(HOSPITALS) if h[1] == city] for city, _ in CITIES]
    widest = max(map(len, by_city))
    grid = np.array([(row * widest)[:widest] for row in by_city])
    near = grid[home, _skewed(rng, widest, 0.5, len(person))]
    far = _skewed(rng, len(HOSPITALS), 0.6, len(person))
    return np.where(rng.random(len(person)) < 0.8, near, far)


def _with_blemishes(rng: np.random.Generator, columns: dict[str, Any]) -> pa.Table:
    """One row in 1,000 lacks an identifier, one in 2,000 has a misspelt department, one in 1,000 is a refund."""
    rows = len(columns["amount"])
    lost, misspelt, refund = (rng.random(rows) < share for share in (1 / 1_000, 1 / 2_000, 1 / 1_000))
    identifiers, department = columns["person_id"], columns["department"]
    columns["person_id"] = pc.if_else(pa.array(lost), pa.scalar(None, pa.string()), identifiers)
    codes = np.where(misspelt, len(DEPARTMENTS), department.indices.to_numpy())
    columns["department"] = _coded(codes, department.dictionary.to_pylist())
    columns["amount"] = pa.array(np.where(refund, -columns["amount"], columns["amount"]))
    return pa.table(columns)


def _enterprises(rng: np.random.Generator, count: int) -> pa.Table:
    scale = _weighted(rng, (60, 29, 9, 2), count)
    capital = np.round(rng.lognormal(4.2, 1.4, count) * np.asarray((0.4, 2, 8, 40))[scale]) + 1
    return pa.table(
        {
            "企业编号": pa.array(_identifiers(rng, count, "91")),
            "行业": _coded(_weighted(rng, _TRADE_WEIGHTS, count), [t for t, _ in TRADES]),
            "区县": _coded(_skewed(rng, len(DISTRICTS), 0.7, count), DISTRICTS),
            "规模": _coded(scale, SCALES),
            "注册资本": pa.array(capital.astype(np.int64)),
            "成立年份": pa.array((2025 - np.minimum(rng.gamma(2.2, 4.5, count), 45)).astype(np.int16)),
        }
    )


def _months(rng: np.random.Generator, firms: pa.Table) -> pa.Table:
    """Twelve monthly rows an enterprise: staff drifts, and tax follows it."""
    count = firms.num_rows
    typical = np.asarray((4, 18, 120, 700))[firms["规模"].combine_chunks().indices.to_numpy()]
    start = typical * rng.lognormal(0, 0.5, count)
    drift = np.exp(np.cumsum(rng.normal(0.002, 0.03, (count, 12)), axis=1))
    staff = np.maximum(1, np.round(start[:, None] * drift)).astype(np.int64)
    tax = np.round(staff * rng.lognormal(6.4, 0.7, (count, 12))).astype(np.int64)
    firm = np.repeat(np.arange(count), 12)
    return pa.table(
        {
            "企业编号": firms["企业编号"].combine_chunks().take(pa.array(firm)),
            "行业": firms["行业"].combine_chunks().take(pa.array(firm)),
            "区县": firms["区县"].combine_chunks().take(pa.array(firm)),
            "规模": firms["规模"].combine_chunks().take(pa.array(firm)),
            "月份": pa.array(np.tile(np.arange(1, 13, dtype=np.int16), count)),
            "从业人数": pa.array(staff.ravel()),
            "应缴税额": pa.array(tax.ravel()),
        }
    )
