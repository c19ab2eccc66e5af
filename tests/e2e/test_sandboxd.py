"""`sandboxd` as an operator types it, and the embedded instance as the demo uses it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.instance import Address, Embedded, InstanceDead, InstanceRuns, Part
from tests.fakes.asking import write_visits

FACTS = """
dataset: health/visits
tables:
  visits:
    unit: {column: person, stands_for: person, space: resident-id}
    max_rows: 3
    columns:
      person: {type: text}
      city: {type: text, keys: public, domain: [云海, 青州]}
      code: {type: text}
      amount: {type: number, lower: 0, upper: 100, step: 0.5}
"""


def sandboxd(
    home: Path, *words: str, given: str = "", lang: str = "en", **more: str
) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SANDBOXD_HOME": str(home), "SANDBOX_LANG": lang, "COLUMNS": "160", **more}
    return subprocess.run(
        [sys.executable, "-m", "sandbox.server", *words],
        env=environ,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("home")
    assert sandboxd(found, "migrate").returncode == 0
    words = ("found", "--organisation", "数据局", "--login", "olga", "--name", "Olga", "--password-stdin")
    made = sandboxd(found, *words, given="correct horse battery\n")
    assert made.returncode == 0, made.stderr
    assert "olga" in made.stdout
    assert (found / "registry.sqlite3").stat().st_mode & 0o077 == 0
    again = sandboxd(found, *words, given="correct horse battery\n", lang="zh_CN.UTF-8")
    assert again.returncode == 1
    assert "首位运营人员" in again.stderr
    return found


def test_an_operator_adds_people_and_nobody_else_does(home: Path) -> None:
    words = ("--organisation", "大学", "--login", "lin", "--name", "Lin", "--role", "researcher", "--password-stdin")
    added = sandboxd(home, "enrol", "--operator", "olga", *words, given="another long password\n")
    assert added.returncode == 0, added.stderr
    again = sandboxd(home, "enrol", "--operator", "olga", *words, given="another long password\n")
    assert again.returncode == 1
    assert "Traceback" not in again.stderr
    other = ("--organisation", "大学", "--login", "mo", "--name", "Mo", "--role", "steward", "--password-stdin")
    for nobody in ("lin", "unknown"):
        refused = sandboxd(home, "enrol", "--operator", nobody, *other, given="another long password\n")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
    rows = sqlite3.connect(home / "registry.sqlite3").execute("SELECT login FROM principals ORDER BY login").fetchall()
    assert rows == [("lin",), ("olga",)]


def test_a_sound_log_verifies_and_a_changed_one_names_its_first_bad_entry(home: Path) -> None:
    sound = sandboxd(home, "verify", "--json")
    assert sound.returncode == 0, sound.stderr
    said = json.loads(sound.stdout)
    assert said["well"] is True
    assert said["entries"] >= 1
    assert "entries" in sandboxd(home, "verify").stdout
    with sqlite3.connect(home / "registry.sqlite3") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "log_entries" in tables
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        (leaf,) = database.execute('SELECT leaf FROM log_entries WHERE "index" = 0').fetchone()
        database.execute('UPDATE log_entries SET leaf = ? WHERE "index" = 0', (leaf.replace(b'"at":"20', b'"at":"19'),))
        assert database.total_changes == 1
    database.close()
    try:
        damaged = sandboxd(home, "verify", "--json")
        assert damaged.returncode == 1
        assert json.loads(damaged.stdout)["first"] == 0
        assert "damaged" in damaged.stderr
    finally:
        with sqlite3.connect(home / "registry.sqlite3") as database:
            database.execute('UPDATE log_entries SET leaf = ? WHERE "index" = 0', (leaf,))
        database.close()


def test_the_doctor_finds_a_well_instance_well_and_says_what_is_wrong(home: Path) -> None:
    well = sandboxd(home, "doctor", "--json")
    said = json.loads(well.stdout)
    assert well.returncode == 0, said
    assert {c["name"] for c in said["checks"]} == {
        "python", "user", "folders", "disk", "key", "registry", "clock", "vault", "queue", "engine",
    }  # fmt: skip
    key = home / "keys" / "log.ed25519"
    key.chmod(0o644)
    try:
        unwell = sandboxd(home, "doctor", lang="zh")
        assert unwell.returncode == 1
        assert "chmod 600" in unwell.stdout
    finally:
        key.chmod(0o600)


def test_an_instance_that_was_not_migrated_is_unwell(tmp_path: Path) -> None:
    said = json.loads(sandboxd(tmp_path, "doctor", "--json").stdout)
    assert [c["name"] for c in said["checks"] if not c["well"]] == ["registry"]


def test_a_misspelt_setting_stops_the_start(tmp_path: Path) -> None:
    refused = sandboxd(tmp_path, "serve", SANDBOXD_PROT="1")
    assert refused.returncode == 1
    assert "SANDBOXD_PROT" in refused.stderr


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("bench")
    facts = folder / "facts.yaml"
    facts.write_text(FACTS, encoding="utf-8")
    return "try", "--facts", str(facts), "--table", f"visits={write_visits(folder / 'visits.csv')}"


def test_a_trial_answers_exactly_at_a_huge_epsilon(tmp_path: Path, workbench: tuple[str, ...]) -> None:
    sql = "SELECT city, COUNT(*) AS n FROM visits GROUP BY city"
    done = sandboxd(tmp_path, *workbench, "--epsilon", "1e6", "--repeat", "3", sql)
    assert done.returncode == 0, done.stderr
    assert "STEWARD" in done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "ok"
    assert said["rows"] == [["云海", 400], ["青州", 200]]
    assert len(said["answers"]) == 3
    assert said["spent"]["epsilon"] == 1e6


def test_a_batch_is_answered_line_by_line_whatever_the_lines_hold(tmp_path: Path, workbench: tuple[str, ...]) -> None:
    lines = [
        '{"sql": "SELECT COUNT(*) AS n FROM visits", "epsilon": 1e6}',
        '{"sql": "SELECT * FROM visits"}',
        "not json",
        '{"sql": "SELECT COUNT(*) AS n FROM visits", "epsilon": -1}',
        '{"sql": "SELECT SUM(amount) AS s FROM visits", "epsilon": 1e6, "delta": 1e-7}',
    ]
    done = sandboxd(tmp_path, *workbench, "--batch", "-", given="\n".join(lines), lang="zh-CN")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [s["status"] for s in said] == ["ok", "refused", "refused", "refused", "ok"]
    assert said[0]["rows"] == [[600]]
    assert said[1]["code"].startswith("sql.")
    assert "。" in said[1]["message"], "in the language of the steward"


@pytest.mark.parametrize(
    "words",
    [
        ("try", "--facts", "missing.yaml", "--table", "visits=missing.csv", "SELECT 1"),
        ("try", "--facts", "missing.yaml", "--table", "visits", "SELECT 1"),
        ("try", "--facts", "missing.yaml", "--table", "visits=/etc/hostname"),
    ],
)
def test_a_trial_that_cannot_begin_says_so_as_json(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = sandboxd(tmp_path, *words)
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["status"], said["code"]) == ("error", "sandboxd.usage")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with Embedded(tmp_path_factory.mktemp("embedded")) as running:
        yield running


def test_an_instance_answers_and_is_private_to_its_user(instance: Embedded) -> None:
    assert httpx.get(f"{instance.url}/healthz", trust_env=False).status_code == 200
    assert httpx.get(f"{instance.url}/readyz", trust_env=False).status_code == 200
    assert instance.settings.key_file.stat().st_mode & 0o777 == 0o600
    files = [instance.settings.home / name for name in ("keys", "queue", "logs", "staging", "instance.json")]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_a_second_instance_in_the_same_folder_is_refused(instance: Embedded) -> None:
    with pytest.raises(InstanceRuns), Embedded(instance.settings.home):
        pass
    assert httpx.get(f"{instance.url}/healthz", trust_env=False).status_code == 200, "the first goes on"


def test_the_api_comes_back_at_the_same_address(instance: Embedded) -> None:
    before = instance.url
    instance.kill(Part.API)
    instance.start(Part.API)
    assert instance.url == before


def test_a_part_that_does_not_start_says_why(tmp_path: Path) -> None:
    with Embedded(tmp_path) as running:
        running.kill(Part.API)
        running.settings.key_file.chmod(0o644)
        with pytest.raises(InstanceDead) as dead:
            running.start(Part.API)
    assert "chmod 600" in dead.value.private


def test_children_stop_when_their_parent_is_killed(tmp_path: Path) -> None:
    text = (
        "import sys, time\nfrom pathlib import Path\nfrom sandbox.server import Embedded\n"
        "with Embedded(Path(sys.argv[1])) as found:\n    print(found.url, flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        address = Address.read(tmp_path)
        assert address is not None
        assert address.url == url
        parent.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and Address.read(tmp_path) is not None:
        time.sleep(0.1)
    assert Address.read(tmp_path) is None, "the API is gone"
