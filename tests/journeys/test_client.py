"""The researcher's client over the real application: no socket, real registry, real engine, real receipts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

import sandbox as sb
from sandbox.client import errors
from sandbox.client.query import Dataset
from sandbox.client.transport import Wire
from sandbox.journeys import people
from sandbox.say import speaking
from tests.fakes.asgi import AsgiTransport
from tests.journeys.world import PASSWORD, QUESTION, World, grant, open_world, publish, work

URL = "http://sandbox.test"


class Flaky(httpx.BaseTransport):
    """A network that loses the answer of the first POSTs after the server has done the work."""

    def __init__(self, inner: httpx.BaseTransport, lost: int) -> None:
        self.inner, self.lost = inner, lost
        self.keys: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.inner.handle_request(request)
        if request.method == "POST" and request.url.path == "/v1/queries":
            self.keys.append(request.headers["Idempotency-Key"])
            if self.lost > 0:
                self.lost -= 1
                raise httpx.ReadError("the answer was lost", request=request)
        return response


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One house with a published dataset and a grant, for the whole module."""
    made = open_world(tmp_path_factory.mktemp("house"))
    publish(made)
    grant(made, "health/visits")
    return made


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with speaking("en"):
        yield


@pytest.fixture
def at_once(world: World) -> Iterator[World]:
    """Every job is done the moment it is announced."""
    with world.at_once():
        yield world


def connect(world: World, login: str, transport: httpx.BaseTransport | None = None) -> sb.Client:
    issued = people.issue_token(world.house, world.who[login], label="sdk", lifetime=timedelta(days=1))
    through = transport or AsgiTransport(world.app)
    return sb.connect(URL, issued.secret, "flu" if login == "li" else None, transport=through)


def later(seconds: float, act: Callable[[], object]) -> threading.Thread:
    """Do something in another thread, a little later."""

    def run() -> None:
        time.sleep(seconds)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_the_catalogue_and_a_card(world: World) -> None:
    with connect(world, "li") as hub:
        assert [one.name for one in hub.datasets()] == ["health/visits"]
        assert "Hospital visits" in repr(hub.datasets())
        assert "health/visits" in hub.datasets()._repr_html_()
        visits = hub.dataset("health/visits")
        assert isinstance(visits, sb.Dataset)
        assert (visits.name, visits.title, visits.tables) == ("health/visits", "Hospital visits", ("visits",))
        for text in (repr(visits), visits._repr_html_()):
            for fact in (
                "Hospital visits",
                "data@health.example",
                "protects each person",
                "at most 4 rows",
                "0 … 100",
                "云海",
            ):
                assert fact in text
        with speaking("zh"):
            assert visits.title == "就诊记录"
            assert "以 person 为隐私单元" in repr(visits)
        assert hub.me().login == "li"
        assert [one.name for one in hub.projects()] == ["flu"]


def test_what_does_not_exist_and_what_is_hidden_look_the_same(world: World) -> None:
    with connect(world, "li") as hub, connect(world, "zhao") as stranger:
        with pytest.raises(sb.NotFound) as missing:
            hub.dataset("health/secrets")
        assert missing.value.code == "dataset.not_found"
        assert missing.value.reference
        with pytest.raises(sb.SandboxError):
            stranger.query("health/visits", QUESTION, project="flu").preview()


def test_a_question_is_lazy(world: World) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"{request.url} was asked")

    hub = sb.connect(URL, "token", "flu", transport=httpx.MockTransport(broken))
    query = hub.query("health/visits", "select 1")
    assert repr(query) == "<Query on health/visits, not asked yet: select 1>"
    assert "flu" in repr(hub)


def test_preview_then_ask_then_ask_again(at_once: World) -> None:
    with connect(at_once, "li") as hub:
        query = hub.dataset("health/visits").sql(QUESTION)
        before = hub.budget("health/visits")
        preview = query.preview(epsilon=0.5)
        assert preview.affordable
        assert preview.more_like_it > 5
        assert "± " in repr(preview)
        assert [one.model_dump() for one in hub.budget("health/visits")] == [one.model_dump() for one in before]

        answer = query.ask(epsilon=0.5)
        assert answer.columns == ("city", "n", "mean")
        assert [row[0] for row in answer.rows] == ["云海", "青州"]
        low, high = answer.intervals[0][1] or (0, 0)
        assert low < answer.rows[0][1] < high  # type: ignore[operator]
        assert answer.charged.epsilon == pytest.approx(0.5)
        assert not answer.repeated
        assert "±" in repr(answer)
        assert "left: epsilon" in repr(answer)
        assert hub.budget("health/visits").share_left < before.share_left

        again = query.ask(epsilon=0.5)
        assert again.repeated
        assert again.charged.rho_units == 0
        assert again.rows == answer.rows
        assert query.preview(epsilon=0.5).told.repeated
        assert again.to_arrow().num_rows == 2


def test_asking_by_accuracy_finds_the_price(at_once: World) -> None:
    sql = "select count(*) as n, avg(amount) as fee from visits where amount < 90"
    with connect(at_once, "li") as hub:
        query = hub.query("health/visits", sql)
        preview = query.preview(within=70, columns=["n"])
        answer = query.ask(within="70", columns=["n"])
        assert answer.cost == preview.told.cost
        assert answer.pilots == ()
        low, high = answer.intervals[0][0] or (0, 999)
        assert high - low <= 140
        supposed = query.preview(within="7%", of=1_000, columns="n").told
        assert supposed.cost == preview.told.cost
        assert supposed.repeated
        job = query.start(within=80, columns=["n"])
        assert job.id == answer.job
        with pytest.raises(errors.Refused, match="costs more than may be paid") as refused:
            query.ask(within=0.1)
        assert refused.value.code == "ask.accuracy_out_of_reach"


def test_a_share_is_found_with_pilots_that_are_shown(at_once: World) -> None:
    with connect(at_once, "li") as hub:
        query = hub.query("health/visits", "select count(*) as n from visits where amount < 95")
        with pytest.raises(errors.Refused, match="no answer to this question yet"):
            query.preview(within="20%")
        answer = query.ask(within="20%", idempotency_key="by-share")
        assert 1 <= len(answer.pilots) <= 4
        assert all(pilot.charged.rho_units > 0 for pilot in answer.pilots)
        paid = sum(pilot.charged.rho_units for pilot in answer.pilots)
        assert paid * 20 <= hub.budget("health/visits").accounts[0].limit.rho_units
        assert "asked before, to learn how large the values are" in repr(answer)
        with speaking("zh-CN"):
            assert "试探性问题" in repr(answer)
        again = query.ask(within="20 %")
        assert (again.rows, again.repeated, again.pilots) == (answer.rows, True, ())
        replayed = query.ask(within="20%", idempotency_key="by-share")
        assert (replayed.rows, replayed.pilots) == (answer.rows, ())


def test_a_wish_that_is_none_is_refused_before_anything_is_sent() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"{request.url} was asked")

    query = sb.connect(URL, "token", "flu", transport=httpx.MockTransport(broken)).query("health/visits", "select 1")
    wrong = (
        {"within": "much"},
        {"within": "0%"},
        {"within": -1},
        {"within": "200%"},
        {"within": 5, "of": 10},
        {"of": 10},
    )
    for wish in (*wrong, {"within": "5%", "of": -3}, {"columns": ["n"]}, {"within": "nan"}):
        with pytest.raises(errors.Malformed, match="no accuracy to ask for"):
            query.ask(**wish)  # type: ignore[arg-type]


def test_a_receipt_proves_the_answer_offline_and_nothing_else(at_once: World, tmp_path: Path) -> None:
    with connect(at_once, "li") as hub:
        answer = hub.query("health/visits", "select count(*) as n from visits").ask(epsilon=0.3)
        receipt = answer.receipt
        key = hub.desk.log_key().pem
        assert receipt.verify(key) is True
        assert receipt.predicate["ran"]["dataset"] == "health/visits"
        assert "health/visits" in repr(receipt)
        assert "health/visits" in receipt._repr_html_()
        with pytest.raises(sb.SandboxError, match="No trusted key is pinned"):
            receipt.verify()
        receipt.save(tmp_path / "r.json", answer=tmp_path / "a.json")
        assert hub.receipt(str(answer.told.receipt)).content == receipt.content

    (tmp_path / "house.pem").write_text(key)
    saved = sb.Receipt.load(tmp_path / "r.json", answer=tmp_path / "a.json")
    assert saved.verify(tmp_path / "house.pem")
    assert saved.verify(key.encode())
    (tmp_path / "a.json").write_bytes((tmp_path / "a.json").read_bytes().replace(b'"rows":[[', b'"rows":[[1'))
    with pytest.raises(sb.ReceiptInvalid, match="Step 8") as forged:
        sb.Receipt.load(tmp_path / "r.json", answer=tmp_path / "a.json").verify(key)
    assert forged.value.step == 8
    with pytest.raises(sb.ReceiptInvalid):
        sb.Receipt(receipt.content.replace(b"entry", b"Entry", 1)).verify(key)
    with pytest.raises(sb.SandboxError, match="cannot be used"):
        saved.verify("-----BEGIN nonsense")
    with pytest.raises(sb.SandboxError, match="cannot be read"):
        saved.verify(tmp_path / "nowhere.pem")
    with pytest.raises(sb.SandboxError, match="without its answer"):
        sb.Receipt.load(tmp_path / "r.json").save(tmp_path / "x", answer=tmp_path / "y")


class Liar(httpx.BaseTransport):
    """A server (or something in between) that shows other figures than were released."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self.inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.inner.handle_request(request)
        if request.url.path == "/v1/queries":
            told = response.json()
            told["answer"]["rows"][0][-1] += 1
            return httpx.Response(200, json=told)
        return response


def test_a_valid_receipt_for_other_figures_is_noticed(at_once: World) -> None:
    with connect(at_once, "li", Liar(AsgiTransport(at_once.app))) as hub:
        answer = hub.query("health/visits", "select count(*) as cases from visits").ask(epsilon=0.2)
        with pytest.raises(sb.ReceiptInvalid, match="not the one shown"):
            _ = answer.receipt


def test_refusals_teach(at_once: World) -> None:
    with connect(at_once, "li") as hub:
        with pytest.raises(sb.BudgetExhausted) as dear:
            hub.query("health/visits", "select sum(amount) as total from visits").ask(epsilon=900)
        error = dear.value
        assert error.requested is not None
        assert error.remaining is not None
        assert error.requested > error.remaining
        assert error.missing is not None
        assert error.contact == "data@health.example"
        with pytest.raises(sb.Refused) as odd:
            hub.query("health/visits", "select person, amount from visits").ask()
        assert odd.value.code.startswith("sql.")
        assert odd.value.hint
        with speaking("zh"), pytest.raises(sb.Refused, match="提示"):
            hub.query("health/visits", "select nothing_here from visits").preview()
        for epsilon, delta, sql in ((-1, None, "select 1"), (None, 2, "select 1"), (None, None, "")):
            with pytest.raises(errors.Malformed, match="cannot be sent"):
                hub.query("health/visits", sql).ask(epsilon, delta)


def test_a_token_that_is_not_known_is_told_so(world: World) -> None:
    with (
        sb.connect(URL, "forged", transport=AsgiTransport(world.app)) as hub,
        pytest.raises(sb.Unauthenticated) as caught,
    ):
        hub.datasets()
    assert caught.value.hint


def test_lost_answers_cost_once(at_once: World) -> None:
    network = Flaky(AsgiTransport(at_once.app), lost=3)
    with connect(at_once, "li", network) as hub:
        hub.wire.sleep = lambda _: None
        before = {one.id: one.spent.rho_units for one in hub.budget("health/visits")}
        answer = hub.query("health/visits", "select avg(amount) as fee from visits").ask(epsilon=0.25)
        after = {one.id: one.spent.rho_units for one in hub.budget("health/visits")}
    assert len(network.keys) == 4
    assert len(set(network.keys)) == 1
    assert {after[key] - before[key] for key in after} == {answer.cost.rho_units}


def test_the_same_key_for_another_question_is_a_conflict(at_once: World) -> None:
    with connect(at_once, "li") as hub:
        hub.query("health/visits", "select count(*) as a from visits").ask(0.1, idempotency_key="my-script-1")
        with pytest.raises(sb.Conflict):
            hub.query("health/visits", "select count(*) as b from visits").ask(0.1, idempotency_key="my-script-1")


def test_long_work_is_followed_by_events(world: World) -> None:
    with connect(world, "li") as hub:
        job = hub.query("health/visits", "select count(distinct person) as people from visits").start(epsilon=0.2)
        assert isinstance(job, sb.Job)
        assert not job.finished
        assert job.id in repr(job)
        thread = later(0.4, lambda: work(world))
        seen: list[str] = []
        answer = job.answer(watch=lambda told: seen.append(told.state))
        thread.join()
        assert seen[0] == "queued"
        assert seen[-1] == "succeeded"
        assert answer.columns == ("people",)
        assert answer.accounts
        assert hub.jobs(limit=1)[0].id == job.id
        assert hub.job(job.id).message


class NoStream(httpx.BaseTransport):
    """A proxy that swallows event streams."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self.inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, text="<html>", headers={"Content-Type": "text/html"})
        return self.inner.handle_request(request)


def test_where_events_are_swallowed_it_asks_again_instead(world: World) -> None:
    with connect(world, "li", NoStream(AsgiTransport(world.app))) as hub:
        job = hub.query("health/visits", "select sum(amount) as fees from visits").start(epsilon=0.2)
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 4:
                work(world)

        hub.wire.sleep = sleep
        assert job.answer().columns == ("fees",)
        assert pauses == sorted(pauses)
        assert len(pauses) == 4


def test_waiting_ends_when_the_time_is_up_and_the_work_goes_on(world: World) -> None:
    with connect(world, "li", NoStream(AsgiTransport(world.app))) as hub:
        hub.wire.sleep = lambda _: None
        job = hub.query("health/visits", "select count(amount) as known from visits").start(epsilon=0.2)
        with pytest.raises(sb.Unavailable, match="not finished yet"):
            job.wait(timeout=0)
        work(world)
        assert job.refresh().finished
        assert len(job.answer()) == 1


def test_a_cancelled_question_has_no_answer_and_costs_nothing(world: World) -> None:
    with connect(world, "li") as hub:
        before = [one.spent.rho_units for one in hub.budget("health/visits")]
        job = hub.query("health/visits", "select count(*) as never from visits").start(epsilon=0.2)
        assert job.cancel().state == "cancelled"
        work(world)
        with pytest.raises(sb.QueryFailed, match="Cancelled") as caught:
            job.answer()
        assert caught.value.job == job.id
        assert [one.spent.rho_units for one in hub.budget("health/visits")] == before
        with pytest.raises(sb.Conflict):
            job.cancel()


def test_the_project_is_named_chosen_or_the_only_one(world: World) -> None:
    with connect(world, "wang") as hub:
        with pytest.raises(sb.SandboxError, match="in which project"):
            hub.query("health/visits", QUESTION).preview()
        assert hub.project_or_only("other") == "other"
    issued = people.issue_token(world.house, world.who["li"], label="x", lifetime=timedelta(days=1))
    with sb.connect(URL, issued.secret, transport=AsgiTransport(world.app)) as hub:
        assert hub.project_or_only() == "flu"


def test_the_desk_carries_every_verb_beside_asking(world: World) -> None:
    with Wire(URL, transport=AsgiTransport(world.app)) as wire:
        desk = sb.Client(wire, sb.connect(URL, "x").settings).desk
        session = desk.sign_in("li", PASSWORD)
        assert wire.token == session.token
        with pytest.raises(sb.Unauthenticated):
            desk.sign_in("li", "wrong password")
        token = desk.create_token("night job", days=2)
        assert token.id in {one.id for one in desk.tokens()}
        desk.revoke_token(token.id)
        assert next(one for one in desk.tokens() if one.id == token.id).revoked_at
        desk.create_project("second", title="Second", purpose="Another reason.")
        assert "wang" in desk.add_member("second", "wang").members
        asked = desk.request_access(project="second", dataset="health/visits", purpose="Care", epsilon=1, delta=1e-7)
        assert asked.budget.epsilon == 1
        assert desk.request(asked.id).state == "submitted"
        assert [one.id for one in desk.requests(state="submitted")] == [asked.id]
        with pytest.raises(errors.Malformed, match="both epsilon and delta"):
            desk.request_access(project="second", dataset="health/visits", purpose="Care", epsilon=1)
        assert desk.decide(asked.id, "withdraw").state == "withdrawn"
        told = desk.explain("ask", dataset="health/visits", project="second")
        assert not told.allowed
        assert told.reasons[0].message
        with pytest.raises(errors.Malformed, match="One of: see_dataset"):
            desk.explain("fly")
        lines = [line for one in desk.accounts(project="flu") for line in desk.account_entries(one.id)]
        assert {"opened", "reserved", "settled"} <= {line.kind for line in lines}
        assert desk.log_head().size > 10
        with pytest.raises(sb.SandboxError):
            list(desk.log_entries())


def test_reviewers_stewards_and_auditors(world: World, tmp_path: Path) -> None:
    with connect(world, "li") as hub, connect(world, "rui") as reviewer, connect(world, "shen") as steward:
        hub.desk.create_project("third", title="Third", purpose="Another reason.")
        asked = hub.desk.request_access(project="third", dataset="health/visits", purpose="Care")
        back = reviewer.desk.review(asked.id, vote="return", comment="Say why.")
        assert back.state == "returned"
        assert hub.desk.decide(asked.id, "submit").state == "submitted"
        granted = reviewer.desk.decide(asked.id, "grant", "fine")
        assert granted.grant
        assert hub.desk.grant(granted.grant).state == "active"
        assert granted.grant in {one.id for one in hub.desk.grants()}
        assert reviewer.desk.change_grant(granted.grant, "suspend", "wait").state == "suspended"
        with pytest.raises(sb.Refused):
            hub.query("health/visits", QUESTION, project="third").preview()
        assert reviewer.desk.change_grant(granted.grant, "resume").state == "active"
        assert steward.desk.report("health/visits").tables[0].rows_kept > 100
        with pytest.raises(sb.SandboxError):
            hub.desk.report("health/visits")
        with pytest.raises(sb.SandboxError, match="cannot be read"):
            steward.desk.upload("health/visits", "visits", tmp_path / "nowhere.csv")
    with connect(world, "an") as auditor:
        assert next(iter(auditor.desk.log_entries(limit=1))).index == 0
        assert next(iter(auditor.desk.log_entries(limit=1, after="1"))).index == 2


def test_a_dataset_is_what_the_hub_hands_out(world: World) -> None:
    with connect(world, "li") as hub:
        assert isinstance(hub.dataset("health/visits"), Dataset)
        assert [one.project for one in hub.dataset("health/visits").budget] == ["flu"]
