"""The front door works: the story is told to its end, the kept instance stays and comes back, setup does nothing twice."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.client.config import Settings as Pinned
from sandbox.client.errors import BudgetExhausted, Unauthenticated
from sandbox.client.hub import Client
from sandbox.client.transport import Wire
from sandbox.demo import show
from sandbox.demo.city import TEST_SIZE
from sandbox.demo.people import CAST
from sandbox.demo.scenario import QUESTIONS
from sandbox.demo.source import DATASETS
from sandbox.instance import Address, Embedded, InstanceDead
from sandbox.say import speaking
from sandbox.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_the_story_is_told_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str], lang: str) -> None:
    with speaking(lang):
        show.tell_story(Settings(home=tmp_path), size=TEST_SIZE)
    told = capsys.readouterr().out
    for chapter in range(1, 8):
        assert f"{chapter} · " in told
    for dataset in DATASETS:
        assert dataset in told
    assert told.count("±") > 20
    assert told.count("█") > len(QUESTIONS)
    assert "data@health.yunhai.example" in told
    proven = "PROVEN" if lang == "en" else "凭证成立"
    rejected = "REJECTED" if lang == "en" else "凭证不成立"
    assert told.count(proven) == 1
    assert told.count(rejected) == 2
    assert Address.read(tmp_path / "demo") is None, "the instance is stopped"


def test_the_demo_touches_nobody_elses_folder(tmp_path: Path) -> None:
    theirs = tmp_path / "demo" / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("three years of work", encoding="utf-8")
    with pytest.raises(show.NotADemo):
        show.tell_story(Settings(home=tmp_path), size=TEST_SIZE)
    assert theirs.read_text(encoding="utf-8") == "three years of work"


def worker_of(parent: int) -> int:
    """The process of the worker that this one started."""
    wanted = ["worker", "--parent", str(parent)]
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = found.read_bytes().decode().rstrip("\0").split("\0")
        except OSError:
            continue
        if words[-3:] == wanted:
            return int(found.parent.name)
    raise AssertionError("no worker runs")


def test_a_process_that_ends_by_itself_ends_the_waiting(tmp_path: Path) -> None:
    with Embedded(tmp_path) as instance:
        os.kill(worker_of(os.getpid()), signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(InstanceDead), show.watched(instance):
            time.sleep(30)
        assert time.monotonic() - started < 10


def kept(home: Path) -> subprocess.Popen[str]:
    script = (
        "from pathlib import Path; from sandbox.demo.city import TEST_SIZE; from sandbox.demo.show import keep_running; "
        "from sandbox.settings import Settings; "
        f"keep_running(Settings(home=Path({str(home)!r}), port=0), size=TEST_SIZE)"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX")} | {"SANDBOX_LANG": "en"}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", script], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def introduced(running: subprocess.Popen[str]) -> str:
    """Everything it prints until it says where it runs; the address is the last word that matters."""
    assert running.stdout is not None
    said = ""
    for line in running.stdout:
        said += line
        found = re.search(r"Running at (http://[\d.:]+)\. ", line)
        if found:
            return said
    raise AssertionError(f"it ended: {said}")


def address(said: str) -> str:
    found = re.search(r"Running at (http://[\d.:]+)\. ", said)
    assert found
    return found.group(1)


def interrupt(running: subprocess.Popen[str]) -> None:
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 0


def client(url: str, login: str, password: str) -> Client:
    wire = Wire(url, "")
    hub = Client(wire, Pinned(url=url, project="care-and-work"))
    hub.desk.sign_in(login, password)
    return hub


def test_the_kept_instance_prints_logins_that_work_and_comes_back_with_its_memory(tmp_path: Path) -> None:
    running = kept(tmp_path)
    try:
        said = introduced(running)
        logins = {one.login: one.password for one in show.read_logins(tmp_path / "up")}
        assert set(logins) == {member.login for member in CAST}
        assert all(password in said for password in logins.values())
        assert stat.S_IMODE((tmp_path / "up" / show.LOGINS).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "up").stat().st_mode) == 0o700
        with client(address(said), "lin", logins["lin"]) as hub:
            first = hub.dataset("health/visits").sql(show.FIRST_QUESTION).ask(epsilon=0.5)
            assert len(first) == 12
        with pytest.raises(Unauthenticated), Client(Wire(address(said), ""), Pinned()) as hub:
            hub.desk.sign_in("lin", logins["zhou"])
    finally:
        interrupt(running)

    again = kept(tmp_path)
    try:
        said = introduced(again)
        with client(address(said), "lin", logins["lin"]) as hub:
            repeated = hub.dataset("health/visits").sql(show.FIRST_QUESTION).ask(epsilon=0.5)
            assert repeated.repeated
            assert repeated.told.rows == first.told.rows
            with pytest.raises(BudgetExhausted):
                hub.dataset("health/visits").sql("SELECT AVG(age) AS a FROM visits").ask(epsilon=4)
    finally:
        interrupt(again)


def test_a_second_setup_starts_working_at_once(tmp_path: Path) -> None:
    """With the stamp of what is installed in place, setup neither installs nor asks for anything."""
    for name in (".ci/setup", ".ci/requirements.lock", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    installed = f"{tmp_path}\n".encode() + b"".join(
        (tmp_path / name).read_bytes() for name in (".ci/requirements.lock", "pyproject.toml", ".ci/setup")
    )
    (tmp_path / ".venv" / ".installed").write_text(hashlib.sha256(installed).hexdigest() + "\n", encoding="utf-8")
    started = time.monotonic()
    done = subprocess.run(["bash", str(tmp_path / ".ci" / "setup")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - started < 3
