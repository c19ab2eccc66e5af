"""The spool folder: messages appear whole, are taken once, oldest first, and rubbish is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import pytest

from sandbox.settings import Settings
from sandbox.spool import Channel
from sandbox.wiring import TASK, CeleryQueue, celery_app


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(home=tmp_path)
    found.queue.mkdir()
    return found


@pytest.fixture
def channel(settings: Settings) -> Iterator[Channel]:
    with celery_app(settings).connection_for_read() as connection:
        found = connection.default_channel
        assert isinstance(found, Channel)
        yield found


def test_messages_come_back_whole_and_in_order(channel: Channel) -> None:
    for n in range(5):
        channel._put("jobs", {"n": n})
    assert channel._size("jobs") == 5
    assert [channel._get("jobs")["n"] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(Empty):
        channel._get("jobs")


def test_queues_do_not_mix(channel: Channel) -> None:
    channel._put("jobs", {"n": 1})
    with pytest.raises(Empty):
        channel._get("others")
    assert channel._purge("jobs") == 1
    with pytest.raises(Empty):
        channel._get("jobs")


def test_rubbish_is_dropped(channel: Channel, settings: Settings) -> None:
    (settings.queue / "0000_half.jobs.msg").write_text('{"n": ')
    (settings.queue / "0001_list.jobs.msg").write_text("[1]")
    (settings.queue / "0002_bytes.jobs.msg").write_bytes(b"\xff\xfe")
    channel._put("jobs", {"n": 7})
    assert channel._get("jobs") == {"n": 7}
    assert not list(settings.queue.glob("*.msg"))


def test_every_message_is_taken_once_by_many_readers(channel: Channel) -> None:
    taken: list[int] = []

    def read() -> None:
        while True:
            try:
                taken.append(channel._get("jobs")["n"])
            except Empty:
                return

    for n in range(200):
        channel._put("jobs", {"n": n})
    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(taken) == list(range(200))


def test_the_queue_announces_an_id_and_nothing_else(channel: Channel, settings: Settings) -> None:
    CeleryQueue(celery_app(settings)).send("job-1")
    message = channel._get("jobs")
    assert message["headers"]["task"] == TASK
    assert message["headers"]["argsrepr"] == "['job-1']"
