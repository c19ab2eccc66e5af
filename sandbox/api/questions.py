"""Routes about asking: previews, questions and their answers, jobs and their progress.

Each calls one journey. Waiting is done without holding a thread: a request that prefers to wait, and a stream of events,
look at the registry between short sleeps, and ask for the right to see anew each time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from access.people import Principal
from compute.jobs import Job
from privacy.errors import Conflict, Problem, Text
from sandbox import wire
from sandbox.api import question_shapes as shapes
from sandbox.api.contract import fails
from sandbox.api.formats import ARROW, CSV, JSON, RELEASED, as_arrow, as_csv, choose
from sandbox.api.guards import (
    SIGNED_IN,
    ApiSettings,
    IdempotencyKey,
    Lang,
    Secret,
    Settings,
    TheHouse,
    TheNames,
    ThePage,
    Wait,
    Who,
)
from sandbox.api.shapes import Names
from sandbox.journeys import ask as asking
from sandbox.journeys import jobs
from sandbox.journeys.booking import Asked
from sandbox.journeys.house import House
from sandbox.journeys.people import authenticate

signed_in = APIRouter(tags=["questions"], dependencies=SIGNED_IN)
_ASKS = fails(400, 401, 403, 404, 409, 422)
_READS = fails(400, 401, 404)
_Project = Annotated[wire.Name | None, Query(description="Only of this project (id or name).")]
_LastEvent = Annotated[str | None, Header(max_length=64, description="Resume after this event.")]


class AnswerNotReady(Conflict):
    """There is no answer, yet or for good."""

    code = "answer.not_ready"
    sentence = Text("The question {job} has no answer: it is {state}.", "提问 {job} 尚无结果，当前状态为 {state}。")
    hint = Text(
        "Follow GET /v1/jobs/{job}/events until it is over; a question that failed has to be asked anew.",
        "可通过 GET /v1/jobs/{job}/events 跟踪直至结束；失败的提问须重新提交。",
    )


@signed_in.post("/v1/queries:preview", responses=_ASKS)
def preview(body: wire.QuestionIn, house: TheHouse, who: Who, lang: Lang) -> wire.PreviewOut:
    """What a question would cost and how exact it would be. Touches no data and spends nothing."""
    seen = asking.preview(
        house,
        who,
        project=body.project,
        dataset=body.dataset,
        sql=body.sql,
        epsilon=body.epsilon,
        delta=body.delta,
        within=shapes.wish(body.within),
    )
    return shapes.preview(seen, lang)


@signed_in.post(
    "/v1/queries",
    responses={202: {"model": wire.QueryOut, "description": "Accepted and paid for; follow the job."}, **_ASKS},
)
async def ask(
    body: wire.QuestionIn,
    key: IdempotencyKey,
    wait: Wait,
    house: TheHouse,
    who: Who,
    lang: Lang,
    names: TheNames,
    settings: Settings,
    response: Response,
) -> wire.QueryOut:
    """Ask. The price is set aside before any data is read; the same key with the same body is the same result."""

    def begin() -> Asked:
        return asking.ask(
            house,
            who,
            project=body.project,
            dataset=body.dataset,
            sql=body.sql,
            epsilon=body.epsilon,
            delta=body.delta,
            within=shapes.wish(body.within),
            idempotency_key=key,
        )

    (asked,) = await _settled(house, who, (await run_sync(begin),), wait=wait, settings=settings, response=response)
    response.headers["Location"] = f"/v1/queries/{asked.job.id}"
    return await run_sync(shapes.question, asked, lang, names)


async def _settled(
    house: House, who: Principal, asked: tuple[Asked, ...], *, wait: int, settings: ApiSettings, response: Response
) -> tuple[Asked, ...]:
    """The questions once all their jobs are over, or as they stand when the time is up; the response says which."""
    until = time.monotonic() + wait
    if wait and not _over(asked):
        response.headers["Preference-Applied"] = f"wait={wait}"
    while not _over(asked) and time.monotonic() < until:
        await anyio.sleep(settings.look_every)
        asked = tuple([await run_sync(_now, house, who, one) for one in asked])
    response.status_code = 200 if _over(asked) else 202
    return asked


def _over(asked: tuple[Asked, ...]) -> bool:
    return all(one.job.state.final for one in asked)


def _now(house: House, who: Principal, asked: Asked) -> Asked:
    """The question as it stands now; whether this asking was charged does not change."""
    if asked.job.state.final:
        return asked
    return replace(asking.read_question(house, who, asked.job.id), repeated=asked.repeated)


@signed_in.post("/v1/batches:preview", responses=_ASKS)
def preview_batch(body: wire.BatchIn, house: TheHouse, who: Who, lang: Lang) -> wire.BatchPreviewOut:
    """What questions would cost together, and how exact each would be for its part. Spends nothing."""
    seen = asking.preview_together(
        house,
        who,
        project=body.project,
        dataset=body.dataset,
        questions=body.questions,
        epsilon=body.epsilon,
        delta=body.delta,
    )
    return shapes.previews(seen, lang)


@signed_in.post(
    "/v1/batches",
    responses={202: {"model": wire.BatchOut, "description": "Accepted and paid for; follow the jobs."}, **_ASKS},
)
async def ask_batch(
    body: wire.BatchIn,
    key: IdempotencyKey,
    wait: Wait,
    house: TheHouse,
    who: Who,
    lang: Lang,
    names: TheNames,
    settings: Settings,
    response: Response,
) -> wire.BatchOut:
    """Ask several questions at one price, all or none. The same key with the same body is the same list of questions."""

    def begin() -> tuple[Asked, ...]:
        return asking.ask_together(
            house,
            who,
            project=body.project,
            dataset=body.dataset,
            questions=body.questions,
            epsilon=body.epsilon,
            delta=body.delta,
            idempotency_key=key,
        )

    asked = await _settled(house, who, await run_sync(begin), wait=wait, settings=settings, response=response)
    return await run_sync(shapes.batch, asked, lang, names)


@signed_in.get("/v1/queries", responses=fails(400, 401))
def list_questions(
    house: TheHouse, who: Who, page: ThePage, lang: Lang, names: TheNames, project: _Project = None
) -> wire.Page[wire.QueryOut]:
    """The questions of your projects, newest first, without their answers."""
    found = asking.list_questions(house, who, page.cursor("newest"), project=project)
    return wire.Page(items=[shapes.question(q, lang, names) for q in found.items], next=found.next)


@signed_in.get("/v1/queries/{job_id}", responses=_READS)
def read_question(job_id: wire.Identity, house: TheHouse, who: Who, lang: Lang, names: TheNames) -> wire.QueryOut:
    """A question and, once there is one, its answer."""
    return shapes.question(asking.read_question(house, who, job_id), lang, names)


_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, in the format the Accept header prefers.",
        "content": {
            JSON: {"schema": {"$ref": "#/components/schemas/AnswerOut"}},
            CSV: {"schema": {"type": "string"}},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
            RELEASED: {"schema": {"type": "object", "description": "The released bytes, as the receipt names them."}},
        },
    },
    **fails(400, 401, 404, 406, 409),
}


@signed_in.get("/v1/queries/{job_id}/answer", response_class=Response, responses=_ANSWER)
def read_answer(
    job_id: wire.Identity,
    house: TheHouse,
    who: Who,
    lang: Lang,
    names: TheNames,
    accept: Annotated[str | None, Header(description="JSON, CSV, an Arrow stream, or the released bytes.")] = None,
) -> Response:
    """The answer alone, as JSON, CSV or an Arrow stream, or byte for byte as it was released."""
    form = choose(accept)
    asked = asking.read_question(house, who, job_id)
    if asked.answer is None:
        raise AnswerNotReady(job=asked.job.id, state=asked.job.state.value)
    if form == RELEASED:
        return Response(asked.answer.body, media_type=RELEASED)
    told = shapes.answer(asked.answer, repeated=False, lang=lang, names=names)
    writers: dict[str, Callable[[], bytes]] = {
        JSON: lambda: told.model_dump_json().encode(),
        CSV: lambda: as_csv(told),
        ARROW: lambda: as_arrow(told),
    }
    return Response(writers[form](), media_type=form, headers={"Vary": "Accept"})


@signed_in.get("/v1/jobs", responses=fails(400, 401))
def list_jobs(
    house: TheHouse, who: Who, page: ThePage, lang: Lang, names: TheNames, project: _Project = None
) -> wire.Page[wire.JobOut]:
    """Your own jobs, newest first; with a project, all of it."""
    found = jobs.list_jobs(house, who, page.cursor("newest"), project=project)
    return wire.Page(items=[shapes.job(j, lang, names) for j in found.items], next=found.next)


@signed_in.get("/v1/jobs/{job_id}", responses=_READS)
def read_job(job_id: wire.Identity, house: TheHouse, who: Who, lang: Lang, names: TheNames) -> wire.JobOut:
    """One job."""
    return shapes.job(jobs.read_job(house, who, job_id), lang, names)


@signed_in.post("/v1/jobs/{job_id}:cancel", responses=fails(400, 401, 403, 404, 409))
def cancel_job(job_id: wire.Identity, house: TheHouse, who: Who, lang: Lang, names: TheNames) -> wire.JobOut:
    """Cancel a job of your own. Its price comes back only if no worker had begun."""
    return shapes.job(jobs.cancel(house, who, job_id), lang, names)


def seen_job(job_id: wire.Identity, house: TheHouse, who: Who) -> Job:
    """The job a stream begins with: what is hidden is a 404 before anything is sent."""
    return jobs.read_job(house, who, job_id)


@signed_in.get("/v1/jobs/{job_id}/events", response_class=EventSourceResponse, responses=_READS)
async def watch_job(
    job: Annotated[Job, Depends(seen_job)],
    house: TheHouse,
    secret: Secret,
    lang: Lang,
    names: TheNames,
    settings: Settings,
    last_event_id: _LastEvent = None,
) -> AsyncIterator[ServerSentEvent]:
    """Each change of a job as an event `job` (a `JobEvent`), until it is over. Resume with `Last-Event-ID`."""
    last, until = last_event_id or "", time.monotonic() + settings.longest_stream

    def look() -> Job:
        return jobs.read_job(house, authenticate(house, secret), job.id)

    while True:
        event_id = jobs.look(job)
        if event_id != last:
            told = await run_sync(_told, event_id, job, lang, names)
            yield ServerSentEvent(raw_data=told.model_dump_json(), event="job", id=event_id)
            last = event_id
        if job.state.final or time.monotonic() > until:
            return
        await anyio.sleep(settings.look_every)
        try:
            job = await run_sync(look)
        except Problem:
            return


def _told(event_id: str, job: Job, lang: str, names: Names) -> wire.JobEvent:
    return wire.JobEvent(id=event_id, job=shapes.job(job, lang, names))
