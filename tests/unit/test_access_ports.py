"""What `access.ports` says itself: ids, cursors, hidden things."""

from __future__ import annotations

import secrets

import pytest

from access.ports import LARGEST_PAGE, Cursor, CursorMalformed, Slice, fresh_id


def test_ids_are_sixteen_random_bytes_in_hex() -> None:
    assert fresh_id(lambda n: bytes(range(n))) == "000102030405060708090a0b0c0d0e0f"
    assert len({fresh_id(secrets.token_bytes) for _ in range(100)}) == 100


def test_cursors() -> None:
    assert Cursor().position is None
    assert Cursor(limit=LARGEST_PAGE, after="12").position == 12
    with pytest.raises(CursorMalformed) as refused:
        Cursor(limit=9999, after="x" * 100)
    assert "9999" in refused.value.say("en")
    assert len(refused.value.say("zh-CN")) < 120
    assert "500" in refused.value.advise("en")


def test_a_slice_ends_without_a_next() -> None:
    assert Slice(items=(1, 2)).next is None
