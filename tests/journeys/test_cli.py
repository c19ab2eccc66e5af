"""`sandbox …` over the real application: what people type, what they read, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from sandbox import cli
from sandbox.client import config
from sandbox.client.terminal import Seams
from sandbox.journeys import people
from sandbox.say import speaking
from sandbox.worker import perform
from tests.fakes.asgi import AsgiTransport
from tests.journeys.world import DESCRIPTION, PASSWORD, QUESTION, World, grant, open_world, publish, visits

URL = "http://sandbox.test"


class Shell:
    """One person at one machine: an own config file, and nothing of the machine the tests run on."""

    def __init__(self, world: World, folder: Path, login: str | None = None) -> None:
        self.world, self.folder = world, folder
        self.env = {"SANDBOX_CONFIG": str(folder / "config.json"), "SANDBOX_URL": URL, "SANDBOX_LANG": "en"}
        self.env |= {"SANDBOX_TOKEN": "", "SANDBOX_PROJECT": ""}
        self.transport: httpx.BaseTransport = AsgiTransport(world.app)
        if login is not None:
            issued = people.issue_token(world.house, world.who[login], label="cli", lifetime=timedelta(days=1))
            self.env["SANDBOX_TOKEN"] = issued.secret

    def __call__(self, *words: str, given: str | None = None, code: int = 0, **env: str) -> Result:
        with speaking(None if env.get("SANDBOX_LANG") is None else env["SANDBOX_LANG"]):
            app = cli.build()
            result = CliRunner().invoke(
                app, list(words), input=given, env=self.env | env, obj=Seams(transport=self.transport)
            )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}"
        return result

    def json(self, *words: str, **more: Any) -> Any:
        return json.loads(self(*words, "--json", **more).stdout)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = open_world(tmp_path_factory.mktemp("house"))
    publish(made)
    grant(made, "health/visits")

    def at_once(job_id: str) -> None:
        perform(made.house, job_id)

    made.queue.__dict__["send"] = at_once
    return made


@pytest.fixture
def li(world: World, tmp_path: Path) -> Shell:
    return Shell(world, tmp_path, "li")


def person(world: World, tmp_path: Path, login: str) -> Shell:
    return Shell(world, tmp_path, login)


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with speaking("en"):
        yield


def test_signing_in_pins_the_key_and_writes_a_private_file(world: World, tmp_path: Path) -> None:
    shell = Shell(world, tmp_path)
    said = shell("login", "li", "--password-stdin", given=f"{PASSWORD}\n")
    assert "Signed in as Li (li, University)" in said.stdout
    assert "Pinned the server's key" in said.stdout
    assert "not encrypted" in said.stderr
    path = tmp_path / "config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = config.load(path)
    assert kept.url == URL
    assert "BEGIN PUBLIC KEY" in kept.log_key
    assert PASSWORD not in path.read_text()

    del shell.env["SANDBOX_URL"]
    assert shell.json("whoami")["login"] == "li"
    shell("logout")
    assert config.load(path).token == ""
    shell.env["SANDBOX_URL"] = URL
    assert "[people.not_signed_in]" in shell("whoami", code=3).stderr


def test_the_password_is_asked_for_without_showing_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.client.commands_account._prompt_password", lambda _at: PASSWORD)
    assert "Login" in Shell(world, tmp_path)("login", given="li\n").stderr
    assert "password" not in {word for verb in cli.VERBS for word in verb.run.__annotations__}


def test_a_wrong_password_is_not_signed_in(world: World, tmp_path: Path) -> None:
    shell = Shell(world, tmp_path)
    shell("login", "li", "--password-stdin", given="wrong\n", code=3)
    assert not (tmp_path / "config.json").exists()


def test_a_changed_key_is_an_alarm_and_is_taken_only_on_purpose(world: World, tmp_path: Path) -> None:
    shell = Shell(world, tmp_path)
    config.save(tmp_path / "config.json", config.Settings(url=URL, log_key="another key", project="flu"))
    refused = shell("login", "li", "--password-stdin", given=f"{PASSWORD}\n", code=1)
    assert "is not the one pinned before" in refused.stderr
    assert config.load(tmp_path / "config.json").log_key == "another key"
    shell("login", "li", "--password-stdin", "--new-key", given=f"{PASSWORD}\n")
    assert config.load(tmp_path / "config.json").project == "flu"


def test_signing_out_of_a_server_that_is_gone_forgets_the_token_all_the_same(world: World, tmp_path: Path) -> None:
    shell = Shell(world, tmp_path)
    path = tmp_path / "config.json"
    config.save(path, config.Settings(url=URL, token="t", token_id="id"))
    shell.transport = httpx.MockTransport(lambda _: httpx.Response(403))
    assert "No token was revoked" in shell("logout").stderr
    assert config.load(path).token == ""
    config.save(path, config.Settings(url=URL, token="t", token_id="id"))
    shell.transport = AsgiTransport(world.app)
    assert "revoked" in shell("logout").stderr


def test_looking_around(li: Shell) -> None:
    assert "health/visits" in li("datasets", "list").stdout
    assert li.json("datasets", "list")[0]["name"] == "health/visits"
    assert "protects each person" in li("datasets", "show", "health/visits").stdout
    assert li.json("datasets", "show", "health/visits")["tables"][0]["name"] == "visits"
    missing = li("datasets", "show", "health/nothing", code=4)
    assert missing.stdout == ""
    assert "[dataset.not_found]" in missing.stderr
    assert "organisation: University" in li("whoami").stdout


def test_a_preview_spends_nothing(li: Shell) -> None:
    before = li.json("budget")
    assert "± " in li("ask", "health/visits", QUESTION, "--preview", "-e", "0.5", "-p", "flu").stdout
    assert li.json("ask", "health/visits", QUESTION, "--preview")["affordable"] is True
    assert li.json("budget") == before


def test_an_answer_as_table_json_csv_and_arrow(li: Shell, tmp_path: Path) -> None:
    asked = ("ask", "health/visits", "-", "--epsilon", "0.4")
    table = li(*asked, given=QUESTION)
    assert "±" in table.stdout
    assert "left: epsilon" in table.stdout
    assert li.json(*asked, given=QUESTION)["repeated"] is True

    rows = list(csv.DictReader(io.StringIO(li(*asked, "-f", "csv", given=QUESTION).stdout)))
    assert list(rows[0]) == ["city", "n", "n_low", "n_high", "mean", "mean_low", "mean_high"]
    released = json.loads(li(*asked, "-f", "json", given=QUESTION).stdout)
    assert released["type"] == "data-open-sandbox/answer/v1"
    stream = li(*asked, "-f", "arrow", given=QUESTION).stdout_bytes
    assert pa.ipc.open_stream(stream).read_all().num_rows == 2

    for name, first in (("a.csv", b'"city"'), ("a.json", b"{"), ("a.arrow", b"\xff\xff\xff\xff"), ("a", b'"city"')):
        said = li(*asked, "-o", str(tmp_path / name), given=QUESTION)
        assert "Written" in said.stderr
        assert (tmp_path / name).read_bytes().startswith(first)


def test_the_same_asking_twice_is_one_asking(li: Shell) -> None:
    named = ("ask", "health/visits", "select avg(amount) as a from visits", "--idempotency-key", "monday")
    first, again = li.json(*named), li.json(*named)
    assert first["receipt"] == again["receipt"]
    clash = li("ask", "health/visits", "select 1 from visits", "--idempotency-key", "monday", code=1)
    assert "[idempotency.reused]" in clash.stderr


def test_questions_asked_together(li: Shell, tmp_path: Path) -> None:
    first, second, third = (f"SELECT COUNT(*) AS n FROM visits WHERE amount > {limit}" for limit in (31, 32, 33))
    file = tmp_path / "second.sql"
    file.write_text(f"{second}\n", encoding="utf-8")
    words = ("batch", "health/visits", first, f"@{file}", "-", "-e", "0.3")
    seen = li(*words, "--preview", given=third).stdout
    assert "all together would cost epsilon 0.3" in seen
    assert [line.split()[0] for line in seen.splitlines() if "amount >" in line] == ["1", "2", "3"]
    assert len(li.json(*words, "--preview", given=third)["questions"]) == 3
    told = li(*words, "--idempotency-key", "three", given=third).stdout
    for number, sql in enumerate((first, second, third), 1):
        assert f"{number}. {sql}" in told
    assert told.count("± is the 95 % interval") == 3
    assert told.count("left: epsilon") == 1, "the budget stands there once"
    assert told.rstrip().endswith("all together cost epsilon 0.3 at delta 1.0e-06")
    answers = li.json(*words, "--idempotency-key", "three", given=third)
    assert [one["question"].strip() for one in answers] == [first, second, third]
    assert [one["charged"]["rho_units"] for one in answers] == [one["cost"]["rho_units"] for one in answers]
    said = li("batch", "health/visits", first, "SELECT * FROM visits", "-e", "0.1", code=1).stderr
    assert "in question 2" in said
    assert "无法读取文件" in li("batch", "health/visits", "@nowhere.sql", code=2, SANDBOX_LANG="zh-CN").stderr
    assert "a batch has 1 to 20" in li("batch", "health/visits", *[first] * 21, code=2).stderr
    li("batch", "health/visits", code=2)


def test_a_receipt_is_kept_and_proven_without_a_server(li: Shell, tmp_path: Path) -> None:
    answer, kept, key = (str(tmp_path / name) for name in ("answer.json", "r.json", "house.pem"))
    li("ask", "health/visits", "select count(*) as n from visits", "-o", answer, "-f", "json", "--receipt", kept)
    li("log", "key", "-o", key)
    li.transport = httpx.MockTransport(lambda _: httpx.Response(500))
    proven = li("receipt", "verify", kept, "--key", key, "--answer", answer)
    assert "PROVEN" in proven.stdout
    assert "that step was not checked" in li("receipt", "verify", kept, "--key", key).stderr
    told = li.json("receipt", "verify", kept, "--key", key)
    assert told["proven"] is True
    assert "No trusted key is pinned" in li("receipt", "verify", kept, code=1).stderr

    Path(answer).write_bytes(Path(answer).read_bytes() + b" ")
    refused = li("receipt", "verify", kept, "--key", key, "--answer", answer, code=1)
    assert refused.stdout == ""
    assert "Step 8 failed" in refused.stderr
    chinese = li("receipt", "verify", kept, "--key", key, "--answer", answer, "--lang", "zh-CN", code=1)
    assert "第 8 步未通过" in chinese.stderr

    li.transport = AsgiTransport(li.world.app)
    receipt_id = told["statement"]["predicate"]["receipt"]
    assert json.loads(li("receipt", "get", receipt_id).stdout)
    li("receipt", "get", receipt_id, "-o", str(tmp_path / "again.json"))
    assert (tmp_path / "again.json").read_bytes() == Path(kept).read_bytes()


def test_a_budget_refusal_names_figures_and_whom_to_ask(li: Shell) -> None:
    dear = ("ask", "health/visits", "select sum(amount) as s from visits", "-e", "500")
    said = li(*dear, code=5).stderr
    for word in ("requested", "remaining", "difference", "data@health.example", "[ledger.exhausted]", "Hint:"):
        assert word in said
    told = json.loads(li(*dear, "--json", code=5).stderr)
    assert told["exit"] == 5
    assert told["params"]["contact"] == "data@health.example"
    assert "请联系" in li(*dear, "--lang", "zh", code=5).stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ask", "health/visits", "select person from visits"), 1, "[sql."),
        (("ask", "health/visits", "select 1", "-e", "-3"), 2, "cannot be sent"),
        (("ask", "health/visits"), 2, "This is missing: sql"),
        (("ask", "health/visits", "select 1", "--epsilon", "much"), 2, "not allowed: --epsilon"),
        (("ask", "health/visits", "select 1", "--password", "x"), 2, "no such option: --password"),
        (("fly",), 2, "Wrong usage"),
        (("jobs", "show", "nothing"), 4, "[job.not_found]"),
        (("grants", "show", "nothing"), 4, "[grant.not_found]"),
        (("requests", "show", "nothing"), 4, "[request.not_found]"),
        (("receipt", "get", "nothing"), 4, "[receipt.not_found]"),
        (("receipt", "verify", "nowhere.json"), 1, "cannot be read"),
        (("policy", "explain", "fly"), 2, "One of: see_dataset"),
        (("log", "entries"), 1, "auditor"),
        (("datasets", "report", "health/visits"), 1, "["),
        (("datasets", "draft", "nowhere.csv"), 4, "no file"),
        (("datasets", "register", "nowhere.yaml"), 2, "cannot be read"),
    ],
)
def test_what_goes_wrong_has_a_sentence_and_its_exit_code(
    li: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    found = li(*words, code=code) if code else li(*words)
    assert said in found.stderr
    assert found.stdout == ""


def test_nobody_there(li: Shell) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("gone", request=request)

    li.transport = httpx.MockTransport(nobody)
    assert (
        "No answer from http://sandbox.test"
        in li("projects", "create", "x", "--title", "X", "--purpose", "Y", code=6).stderr
    )


def test_wrong_usage_in_chinese_and_language_before_the_command(li: Shell) -> None:
    assert "缺少参数：sql" in li("--lang", "zh-CN", "ask", "health/visits", code=2).stderr
    assert "没有该选项" in li("ask", "a", "b", "--nope", code=2, SANDBOX_LANG="zh-CN").stderr
    assert "用 SQL 提问" in li("ask", "--help", SANDBOX_LANG="zh-CN").stdout
    assert "显示本帮助" in li("jobs", "--help", SANDBOX_LANG="zh-CN").stdout
    assert cli.asked_language(["x", "--lang=zh"]) == "zh"
    assert cli.asked_language(["x", "--lang", "en", "y"]) == "en"
    assert cli.asked_language(["--lang"]) is None


def test_asking_by_accuracy(li: Shell) -> None:
    sql = "SELECT COUNT(*) AS n, AVG(amount) AS fee FROM visits WHERE amount < 80"
    seen = li.json("ask", "health/visits", sql, "--preview", "--within", "70", "--column", "n")
    assert seen["columns"][0]["plus_minus"] <= 70
    told = li.json("ask", "health/visits", sql, "-w", "70", "--column", "n", "--column", "n", "--epsilon", "3")
    assert told["cost"] == seen["cost"]
    assert li.json("ask", "health/visits", sql, "--within", "7%", "--of", "1000", "--column", "n")["repeated"]
    shown = li("ask", "health/visits", "SELECT COUNT(*) AS n FROM visits WHERE amount < 85", "--within", "20%")
    assert "asked before, to learn how large the values are" in shown.stdout
    assert "no accuracy to ask for" in li("ask", "health/visits", sql, "--within", "much", code=2).stderr
    assert "costs more than may be paid" in li("ask", "health/visits", sql, "--within", ".001", code=1).stderr


def test_without_a_command_the_help_is_shown(li: Shell) -> None:
    assert "datasets" in li(code=2).stdout
    assert "watch" in li("jobs", code=2).stdout


def test_the_process_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["--lang", "zh", "--help"])
    assert done.value.code == 0
    assert "可用不可见" in capsys.readouterr().out


def test_jobs(li: Shell) -> None:
    li("ask", "health/visits", "select count(amount) as n from visits", "-e", "0.2")
    job = li.json("jobs", "list", "-n", "1")[0]["id"]
    assert "Answered." in li("jobs", "show", job).stdout
    assert "±" in li("jobs", "watch", job).stdout
    assert li("jobs", "cancel", job, code=1).stderr
    waiting = li.world.queue.__dict__.pop("send")
    try:
        asked = li("ask", "health/visits", "select count(*) as late from visits", "-e", "0.2", "--timeout", "0", code=6)
        assert "It goes on without you" in asked.stderr
        late = li.json("jobs", "list", "-n", "1")[0]["id"]
        assert "Cancelled" in li("jobs", "cancel", late).stdout
        assert li("jobs", "watch", late, code=1).stderr
    finally:
        li.world.queue.ids.clear()
        li.world.queue.__dict__["send"] = waiting


def test_budget_as_gauges_json_and_lines(li: Shell) -> None:
    assert "█" in li("budget", "health/visits").stdout
    assert li.json("budget", "--project", "flu")[0]["project"] == "flu"
    li("ask", "health/visits", "SELECT COUNT(*) AS n FROM visits WHERE amount < 75", "--epsilon", "0.3")
    account = li.json("budget", "health/visits", "--project", "flu")[0]
    assert 0 < account["spent_gaussian_epsilon"] < account["spent"]["epsilon"]
    assert "information only" in " ".join(li("budget", "health/visits").stdout.split())
    assert "opened" in li("budget", "--lines").stdout
    assert li.json("budget", "--lines")[0]["kind"] == "opened"
    assert li.json("budget", "no/such") == []


def test_a_request_from_draft_to_grant_and_back(world: World, li: Shell, tmp_path: Path) -> None:
    rui = person(world, tmp_path, "rui")
    li("projects", "create", "care", "--title", "Care", "--purpose", "To know.")
    assert "wang" in li("projects", "add-member", "care", "wang").stdout
    assert "care" in li("projects", "list").stdout
    create = ("requests", "create", "health/visits", "-p", "care", "--purpose", "Care", "--expires", "2030-01-31")
    one = li.json(*create, "--draft", "--epsilon", "1", "--delta", "1e-7")
    assert (one["state"], one["budget"]["epsilon"], one["expires_at"][:10]) == ("draft", 1, "2030-02-01")
    assert "submitted" in li("requests", "submit", one["id"]).stdout
    assert one["id"] in rui("requests", "list", "--state", "submitted").stdout
    assert "returned" in rui("requests", "return", one["id"], "-m", "Why?").stdout
    assert "Why?" in li("requests", "show", one["id"]).stdout
    li("requests", "withdraw", one["id"])
    two = li.json(*create)
    assert "refused" in rui("requests", "refuse", two["id"]).stdout
    three = li.json(*create)
    assert li("requests", "review", three["id"], "--vote", "grant", code=1).stderr
    assert "grant " in rui("requests", "review", three["id"], "--vote", "grant", "-m", "fine").stdout
    four = li.json(*create)
    granted = rui.json("requests", "grant", four["id"])["grant"]
    assert "active" in li("grants", "show", granted).stdout
    assert granted in li("grants", "list").stdout
    assert "allowed: ask" in li("policy", "explain", "ask", "-d", "health/visits", "-p", "care").stdout
    assert "suspended" in rui("grants", "suspend", granted, "-m", "wait").stdout
    assert "not allowed: ask" in li("policy", "explain", "ask", "-d", "health/visits", "-p", "care").stdout
    assert "active" in rui("grants", "resume", granted).stdout
    assert "revoked" in rui("grants", "revoke", granted).stdout
    assert li("ask", "health/visits", QUESTION, "-p", "care", code=1).stderr


def test_tokens(li: Shell) -> None:
    made = li("tokens", "create", "night job", "--days", "2")
    assert len(made.stdout.strip()) > 20
    assert "not shown again" in made.stderr
    one = li.json("tokens", "create", "another")
    assert "another" in li("tokens", "list").stdout
    li("tokens", "revoke", one["id"])
    assert "revoked" in li("tokens", "list").stdout
    assert li("tokens", "revoke", "nothing", code=4).stderr


def test_a_steward_publishes_from_the_command_line(world: World, tmp_path: Path) -> None:
    shen = person(world, tmp_path, "shen")
    described, raw = tmp_path / "d.yaml", tmp_path / "visits.csv"
    described.write_text(DESCRIPTION.replace("health/visits", "health/visits-two"), encoding="utf-8")
    raw.write_bytes(visits(50) + b"p999,Atlantis,c1,3.5\n")
    assert "Registered health/visits-two" in shen("datasets", "register", str(described)).stdout
    assert "bytes received" in shen("datasets", "upload", "health/visits-two", "visits", str(raw)).stdout
    assert "ready" in shen("datasets", "ingest", "health/visits-two").stdout
    report = shen("datasets", "report", "health/visits-two").stdout
    assert "1 rows rejected" in report
    assert "for the steward's eyes only" in report
    assert shen.json("datasets", "report", "health/visits-two")["tables"][0]["units"] == 50
    described.write_text("dataset: [", encoding="utf-8")
    assert shen("datasets", "register", str(described), code=2).stderr


def test_the_log(world: World, tmp_path: Path) -> None:
    auditor = person(world, tmp_path, "an")
    assert "root" in auditor("log", "head").stdout
    assert "BEGIN PUBLIC KEY" in auditor("log", "key").stdout
    entries = auditor.json("log", "entries", "-n", "3")
    assert [one["index"] for one in entries] == [0, 1, 2]
    assert "kind" in auditor("log", "entries").stdout


def test_a_draft_is_made_on_the_stewards_machine_alone(
    li: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    li.transport = httpx.MockTransport(lambda _: httpx.Response(500))
    raw, out = tmp_path / "raw.csv", tmp_path / "d.yaml"
    raw.write_bytes(visits(50))
    text = li("datasets", "draft", str(raw), "-d", "health/visits", "-t", "visits").stdout
    assert "health/visits" in text
    assert "!confirm" in text
    assert "becomes public" in li("datasets", "draft", str(raw), "-o", str(out)).stderr
    assert "!confirm" in out.read_text(encoding="utf-8")
    raw.write_bytes(b"")
    assert li("datasets", "draft", str(raw), code=2).stderr.startswith("Error:")

    def absent(name: str) -> None:
        raise ImportError(name=name)

    monkeypatch.setattr("sandbox.client.commands_data.import_module", absent)
    raw.write_bytes(visits(5))
    assert "pip install" in li("datasets", "draft", str(raw), code=1).stderr
