"""Setting the stage: the cast signs in over HTTP, stewards publish their datasets, reviewers grant a project its access.

Owns the steps that come before the first question, as small functions that the story narrates and that `prepare` runs in
silence (for `make up`, the notebooks and the tests). It speaks to the instance only through the public client, never reads
a user's own configuration, and decides nothing: who may do what is the instance's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.client.config import Settings
from sandbox.client.hub import Client
from sandbox.client.transport import Wire
from sandbox.demo.city import DEMO_SIZE, Size, write_city
from sandbox.demo.people import STEWARDS, Login
from sandbox.demo.public_data import write_public_data
from sandbox.demo.source import DATASETS, Source, description
from sandbox.say import say
from sandbox.wire import AccessRequestOut, JobOut

RESEARCHER = "lin"
REVIEWERS = ("zhou", "he")
PROJECT = "care-and-work"

Watch = Callable[[str, JobOut], None]
"""Called with a dataset's name and its ingest job as it goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A running instance with its cast."""

    url: str
    logins: tuple[Login, ...]

    def enter(self, login: str) -> Client:
        """A client that is signed in as this member of the cast, with the log's key pinned. Close it."""
        known = next(one for one in self.logins if one.login == login)
        wire = Wire(self.url, "")
        hub = Client(wire, Settings(url=self.url, login=login, project=PROJECT))
        try:
            hub.desk.sign_in(login, known.password)
            hub.settings = replace(hub.settings, log_key=hub.desk.log_key().pem)
        except BaseException:
            hub.close()
            raise
        return hub


def write_files(folder: Path, size: Size = DEMO_SIZE) -> tuple[Source, ...]:
    """The files that the stewards bring, below `folder`."""
    return (*write_city(folder, size=size), *write_public_data(folder))


def publish(stage: Stage, sources: Iterable[Source], watch: Watch = lambda _dataset, _job: None) -> None:
    """Every steward registers their datasets, uploads the files and has them ingested; all ingests run at once."""
    brought = tuple(sources)
    jobs = []
    hubs = {login: stage.enter(login) for login in dict.fromkeys(STEWARDS[d] for d in DATASETS)}
    try:
        for dataset in DATASETS:
            hub = hubs[STEWARDS[dataset]]
            hub.desk.register(description(dataset))
            for source in brought:
                if source.dataset == dataset:
                    hub.desk.upload(dataset, source.table, source.path)
            jobs.append((dataset, hub.adopt(hub.desk.ingest(dataset))))
        for dataset, job in jobs:
            for told in job.follow(timeout=300):
                watch(dataset, told)
            job.require_success()
    finally:
        for hub in hubs.values():
            hub.close()


def open_project(hub: Client) -> None:
    """The researcher opens the project that answers for every question, unless it is open already."""
    if PROJECT not in hub.me().projects:
        hub.desk.create_project(
            PROJECT,
            title=say("Care and work in Yunhai", "云海市的就医与就业"),
            purpose=say(
                "How care, insurance and employment differ between places and groups.",
                "研究就医、保险与就业在地区和人群之间的差异。",
            ),
        )


def request(hub: Client, dataset: str) -> AccessRequestOut:
    """The researcher asks for a dataset, for all that its policy gives one project."""
    purpose = say("Aggregates for a public report; no person is looked at.", "用于公开报告的汇总统计，不关注任何个人。")
    return hub.desk.request_access(project=PROJECT, dataset=dataset, purpose=purpose)


def vote(stage: Stage, reviewer: str, request_id: str) -> AccessRequestOut:
    """One reviewer reads the request and votes for it."""
    comment = say("Purpose and limits fit the terms of use.", "用途与限额符合使用条款。")
    with stage.enter(reviewer) as hub:
        return hub.desk.review(request_id, vote="grant", comment=comment)


def prepare(stage: Stage, folder: Path, *, size: Size = DEMO_SIZE, watch: Watch = lambda _dataset, _job: None) -> None:
    """Everything before the first question, without a word: datasets published, project open, access granted."""
    publish(stage, write_files(folder, size), watch)
    with stage.enter(RESEARCHER) as hub:
        open_project(hub)
        for dataset in DATASETS:
            asked = request(hub, dataset)
            for reviewer in REVIEWERS[: asked.reviews_needed]:
                vote(stage, reviewer, asked.id)
