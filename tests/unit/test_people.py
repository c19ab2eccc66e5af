"""Names, texts, passwords and tokens."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.people import (
    LONGEST_LIFETIME,
    BadName,
    BadText,
    LifetimeRefused,
    PasswordTooWeak,
    Role,
    issue,
    require_name,
    require_password,
    require_text,
    token_hash,
)
from privacy.errors import Text
from tests.fakes.cast import LI, NOW

FIELD = Text("login", "登录名")


@pytest.mark.parametrize("name", ["a", "li", "team-7", "a.b_c-d", "0", "x" * 64])
def test_good_names(name: str) -> None:
    assert require_name(name, FIELD) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", ".a", "A", "李", "a b", "a\n", "x" * 65, "a'; drop table principals; --", "a\u0000"]
)
def test_bad_names_are_refused_in_both_languages(name: str) -> None:
    with pytest.raises(BadName) as refused:
        require_name(name, FIELD)
    assert "as login" in refused.value.say("en")
    assert "登录名" in refused.value.say("zh-CN")


def test_texts_are_trimmed() -> None:
    assert require_text("  Patient flow 患者流动  ", FIELD) == "Patient flow 患者流动"
    assert require_text("two\nlines\tand more", FIELD, 4000) == "two\nlines\tand more"


@pytest.mark.parametrize("text", ["", "   ", "x" * 201, "a\nb", "a\x00b", "a\x1bb", "\ud800"])
def test_texts_that_cannot_be_shown_are_refused(text: str) -> None:
    with pytest.raises(BadText):
        require_text(text, FIELD)


def test_long_texts_may_hold_lines_but_no_control_characters() -> None:
    with pytest.raises(BadText):
        require_text("a\x07b", FIELD, 4000)


@pytest.mark.parametrize("length", [0, 11, 1025])
def test_passwords_of_a_wrong_length(length: int) -> None:
    with pytest.raises(PasswordTooWeak) as refused:
        require_password("x" * length)
    assert str(length) in refused.value.say("en")


def test_passwords_of_a_good_length() -> None:
    assert require_password("correct horse") == "correct horse"


def test_a_token_is_its_hash_and_its_secret_is_shown_once() -> None:
    issued = issue(LI, token_id="t", label="l", now=NOW, lifetime=timedelta(hours=1), entropy=lambda n: bytes(range(n)))
    assert issued.secret.startswith("dos_")
    assert len(issued.secret) == 4 + 43
    assert issued.token.hash == token_hash(issued.secret)
    assert issued.token.owner == LI.id
    assert issued.secret not in repr(issued)
    assert issued.secret not in repr(issued.token)


def test_a_token_stands_for_its_owner_until_it_expires_or_is_revoked() -> None:
    token = issue(LI, token_id="t", label="l", now=NOW, lifetime=timedelta(hours=1), entropy=bytes).token
    assert token.usable_at(NOW)
    assert not token.usable_at(NOW + timedelta(hours=1))
    assert not replace(token, revoked_at=NOW).usable_at(NOW)


@pytest.mark.parametrize("lifetime", [timedelta(), timedelta(seconds=-1), LONGEST_LIFETIME + timedelta(seconds=1)])
def test_lifetimes_have_bounds(lifetime: timedelta) -> None:
    with pytest.raises(LifetimeRefused):
        issue(LI, token_id="t", label="l", now=NOW, lifetime=lifetime, entropy=bytes)


@given(st.text())
def test_any_text_can_be_looked_up_as_a_secret(secret: str) -> None:
    assert len(token_hash(secret)) == 64


def test_roles() -> None:
    assert LI.has(Role.RESEARCHER)
    assert not LI.has(Role.OPERATOR)
    assert len(Role) == 7
