"""Where the client finds its server, and what it never does with a token."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from sandbox.client import config
from sandbox.client.config import Settings
from sandbox.client.errors import SandboxError

KEPT = Settings(url="https://a.example", token="secret", token_id="t1", login="li", project="flu", log_key="PEM")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_the_file_is_where_people_look_for_it(tmp_path: Path) -> None:
    named = config.config_path({"SANDBOX_CONFIG": "/x/y.json", "HOME": "/h"})
    assert named == Path("/x/y.json")
    assert config.config_path({"HOME": "/h"}) == Path("/h/.config/data-open-sandbox/config.json")
    assert config.config_path({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}) == Path("/c/data-open-sandbox/config.json")


def test_what_was_saved_is_found_and_is_the_owners_alone(home: dict[str, str]) -> None:
    path = config.config_path(home)
    config.save(path, KEPT)
    assert config.load(path) == KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["config.json"]


def test_saving_over_a_file_that_was_open_closes_it(home: dict[str, str]) -> None:
    path = config.config_path(home)
    config.save(path, KEPT)
    path.chmod(0o644)
    config.save(path, KEPT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_may_read_is_refused(home: dict[str, str]) -> None:
    path = config.config_path(home)
    config.save(path, KEPT)
    path.chmod(0o640)
    with pytest.raises(SandboxError, match="chmod 600"):
        config.settle(environ=home)


@pytest.mark.parametrize("text", ["", "[1]", "{", '"x"', "null"])
def test_a_broken_file_is_named(home: dict[str, str], text: str) -> None:
    path = config.config_path(home)
    config.save(path, KEPT)
    path.write_text(text)
    with pytest.raises(SandboxError, match="cannot be read as settings"):
        config.load(path)


def test_unknown_fields_are_left_alone(home: dict[str, str]) -> None:
    path = config.config_path(home)
    config.save(path, KEPT)
    path.write_text(json.dumps({"url": "https://b.example", "of_a_later_version": 1}))
    assert config.load(path) == Settings(url="https://b.example")


def test_arguments_then_environment_then_file(home: dict[str, str]) -> None:
    assert config.settle(environ=home) == Settings(url=config.DEFAULT_URL)
    config.save(config.config_path(home), KEPT)
    assert config.settle(environ=home) == KEPT
    assert config.settle(environ=home | {"SANDBOX_PROJECT": "env"}).project == "env"
    assert config.settle(environ=home | {"SANDBOX_PROJECT": "env"}, project="arg").project == "arg"
    told = config.settle(environ=home | {"SANDBOX_TOKEN": "env"})
    assert (told.token, told.token_id, told.url) == ("env", "", "https://a.example")
    assert config.settle(environ=home | {"SANDBOX_TOKEN": "env"}, token="arg").token == "arg"
    assert config.settle(environ=home, url="https://a.example/").token == "secret"


def test_a_token_is_never_sent_to_another_address(home: dict[str, str]) -> None:
    config.save(config.config_path(home), KEPT)
    for elsewhere in (
        config.settle(environ=home, url="https://b.example"),
        config.settle(environ=home | {"SANDBOX_URL": "http://a.example"}),
    ):
        assert (elsewhere.token, elsewhere.log_key, elsewhere.project, elsewhere.login) == ("", "", "", "")


def test_with_address_and_token_given_the_file_is_not_even_read(home: dict[str, str]) -> None:
    path = config.config_path(home)
    config.save(path, KEPT)
    path.write_text("broken")
    assert config.settle(environ=home, url="https://b.example", token="t").token == "t"


def test_forgetting_drops_the_token_only(home: dict[str, str]) -> None:
    path = config.config_path(home)
    config.forget(path)
    assert not path.exists()
    config.save(path, KEPT)
    config.forget(path)
    assert config.load(path) == Settings(url=KEPT.url, project=KEPT.project, log_key=KEPT.log_key)
