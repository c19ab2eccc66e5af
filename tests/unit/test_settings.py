"""Settings: read, refused, handed to a child, documented."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from sandbox.settings import Settings, SettingUnknown, SettingUnreadable, document, variable


def test_without_variables_the_instance_is_embedded() -> None:
    found = Settings.read({"PATH": "/bin", "SANDBOX_URL": "http://elsewhere"})
    assert found == Settings()
    assert found.database_url == f"sqlite:///{Path('var/registry.sqlite3').absolute()}"
    assert found.vault_folder == Path("var/vault")
    assert found.key_file == Path("var/keys/log.ed25519")
    assert found.limits.memory == 2 * 2**30


def test_variables_are_read_and_empty_ones_count_as_absent() -> None:
    found = Settings.read(
        {
            "SANDBOXD_HOME": "/srv/x",
            "SANDBOXD_PORT": "0",
            "SANDBOXD_VAULT": "/v",
            "SANDBOXD_BROKER": "",
            "SANDBOXD_DATABASE": "postgresql://h/d",
        }
    )
    assert (found.home, found.port, found.vault_folder, found.broker) == (Path("/srv/x"), 0, Path("/v"), "")
    assert found.database_url == "postgresql://h/d"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("WORKERS", "0"),
        ("LOG_LEVEL", "loud"),
        ("S3_TLS", "true"),
        ("QUERY_MEMORY_MB", "1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(SettingUnreadable) as refused:
        Settings.read({f"SANDBOXD_{name}": value})
    assert name in refused.value.say("en")
    assert refused.value.advise("zh-CN") != refused.value.advise("en")


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(SettingUnknown, match="SANDBOXD_PROT"):
        Settings.read({"SANDBOXD_PROT": "1"})


def test_a_child_gets_the_same_settings() -> None:
    settings = Settings(home=Path("/srv/y"), port=0, workers=3, s3_endpoint="h:1")
    assert Settings.read(settings.environ()) == settings


@pytest.mark.parametrize(("lang", "name"), [("en", "settings.md"), ("zh-CN", "settings.zh-CN.md")])
def test_every_setting_is_documented_and_the_document_is_current(lang: str, name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    assert text == document(lang), "run: python -m sandbox.settings"
    assert all(f"`{variable(f)}`" in text for f in fields(Settings))
