"""A question around an answer through the client: rates per 1,000 inhabitants, with a public table of populations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

import sandbox as sb
from sandbox.journeys import people
from sandbox.say import speaking
from tests.fakes.asgi import AsgiTransport
from tests.journeys.world import DESCRIPTION, World, grant, open_world, visits, work

WITH_PEOPLE = DESCRIPTION.replace(
    "policy:",
    """  towns:
    columns:
      city: {type: text, unique: true}
      region: {type: text}
      people: {type: integer, lower: 0, upper: 100000000}
policy:""",
)
TOWNS = "city,region,people\n云海,东,1000\n青州,东,500\n无人,西,0\n"
RATES = """
WITH seen AS (SELECT city, COUNT(*) AS n FROM visits GROUP BY city)
SELECT city, n, round(1000.0 * n / people, 1) AS rate FROM seen JOIN towns USING (city) ORDER BY rate DESC
"""
REGIONS = """
SELECT region, 1000.0 * sum(n) / sum(people) AS rate
FROM (SELECT city, COUNT(*) AS n FROM visits GROUP BY city) AS seen JOIN towns USING (city) GROUP BY region
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A house with private visits and public populations."""
    made = open_world(tmp_path_factory.mktemp("house"))
    steward = made.client("shen", **{"Content-Type": "application/yaml"})
    assert steward.post("/v1/datasets", content=WITH_PEOPLE.encode()).status_code == 201
    for table, file in (("visits", visits()), ("towns", TOWNS.encode())):
        assert steward.put(f"/v1/datasets/health/visits/tables/{table}", content=file).status_code == 200
    started = steward.post("/v1/datasets/health/visits/versions")
    work(made)
    assert steward.get(f"/v1/jobs/{started.json()['id']}").json()["state"] == "succeeded"
    grant(made, "health/visits")
    return made


@pytest.fixture
def hub(world: World) -> Iterator[sb.Client]:
    """The client of a researcher whose jobs are done at once."""
    issued = people.issue_token(world.house, world.who["li"], label="sdk", lifetime=timedelta(days=1))
    with (
        world.at_once(),
        speaking("en"),
        sb.connect("http://sandbox.test", issued.secret, "flu", transport=AsgiTransport(world.app)) as found,
    ):
        yield found


def test_rates_per_thousand_inhabitants(hub: sb.Client) -> None:
    query = hub.query("health/visits", RATES)
    preview = query.preview(epsilon=1.0)
    assert [(c.name, c.role) for c in preview.told.columns] == [("city", "key"), ("n", "value"), ("rate", "value")]
    assert [c.plus_minus is not None for c in preview.told.columns] == [False, True, False]
    answer = query.ask(epsilon=1.0)
    assert {row[0] for row in answer.rows} == {"云海", "青州"}
    inhabitants = {"云海": 1000, "青州": 500}
    for (name, n, rate), intervals in zip(answer.rows, answer.intervals, strict=True):
        assert rate == pytest.approx(1000 * n / inhabitants[name], abs=0.06)
        for value, interval in ((n, intervals[1]), (rate, intervals[2])):
            assert interval[0] < value < interval[1]
        shown, scaled = (i[1] - i[0] for i in intervals[1:])
        assert scaled == pytest.approx(shown * 1000 / inhabitants[name], rel=0.35)
    repeated = hub.query("health/visits", RATES).ask(epsilon=1.0)
    assert repeated.rows == answer.rows


def test_cells_become_regions_and_keep_their_intervals(hub: sb.Client) -> None:
    answer = hub.query("health/visits", REGIONS).ask(epsilon=1.0)
    assert [row[0] for row in answer.rows] == ["东"]
    low, high = answer.intervals[0][1]
    assert low < answer.rows[0][1] < high
    assert answer.rows[0][1] == pytest.approx(1000 * 799 / 1500, rel=0.2)


def test_two_answers_in_one_question_share_its_price(hub: sb.Client) -> None:
    sql = "SELECT (SELECT COUNT(*) FROM visits WHERE amount > 50) / (SELECT COUNT(*) FROM visits) AS part"
    answer = hub.query("health/visits", sql).ask(epsilon=1.0)
    low, high = answer.intervals[0][0]
    assert 0 < low < answer.rows[0][0] < high < 1.1
    assert answer.cost.epsilon == 1.0
    assert [b.share for b in answer.told.bounds] == [0.5, 0.5]


def test_a_rollup_has_totals_that_agree(hub: sb.Client) -> None:
    answer = hub.query("health/visits", "SELECT city, COUNT(*) AS n FROM visits GROUP BY ROLLUP (city)").ask(
        epsilon=1.0
    )
    assert answer.rows[-1][0] is None, "the total comes last"
    assert sum(n for _, n in answer.rows[:-1]) == answer.rows[-1][1]
    assert all(low <= n <= high for (_, n), (_, (low, high)) in zip(answer.rows, answer.intervals, strict=True))
