"""Routes about datasets: the catalogue, cards, and the steward's way from a description to a version.

An upload is streamed to the staging folder, never held in memory, and only after the steward's right was checked. A
dataset's name has segments joined by "/", so its card is the last of these routes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath

from privacy.errors import Text
from sandbox import wire
from sandbox.api import question_shapes, shapes
from sandbox.api.contract import fails
from sandbox.api.guards import SIGNED_IN, Lang, TheHouse, TheNames, ThePage, Who
from sandbox.api.problems import FieldFault, FieldFaults, UnsupportedMediaType
from sandbox.journeys import browse, onboard

signed_in = APIRouter(tags=["datasets"], dependencies=SIGNED_IN)
_READS = fails(400, 401, 404)
_STEWARD = fails(400, 401, 403, 404, 409)
_Dataset = Annotated[
    str, InPath(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", max_length=128, description="Name.")
]
_YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/plain", "application/octet-stream")
_YAML_BODY = {"requestBody": {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}}
_FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@signed_in.get("/v1/datasets", responses=fails(400, 401))
def list_datasets(house: TheHouse, who: Who, page: ThePage) -> wire.Page[wire.DatasetOut]:
    """The datasets you may know of."""
    found = browse.list_datasets(house, who, page.cursor("oldest"))
    return wire.Page(items=[shapes.dataset(c) for c in found.items], next=found.next)


async def description_of(request: Request) -> str:
    """The YAML text of the body."""
    given = request.headers.get("content-type", _YAML[0]).partition(";")[0].strip().lower()
    if given not in _YAML:
        raise UnsupportedMediaType(given=given[:100], allowed=_YAML[0])
    try:
        return (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        words = Text("A text in UTF-8 is expected.", "应为 UTF-8 文本。")
        raise FieldFaults([FieldFault(field="body", allowed=words, context={})]) from None


@signed_in.post("/v1/datasets", status_code=201, responses={**_STEWARD, **fails(415)}, openapi_extra=_YAML_BODY)
def register(text: Annotated[str, Depends(description_of)], house: TheHouse, who: Who) -> wire.Card:
    """As a steward, register a dataset from its description (YAML)."""
    return shapes.card(onboard.register(house, who, text))


def staged_dataset(name: _Dataset, table: wire.Identity, house: TheHouse, who: Who) -> tuple[str, str]:
    """The table an upload is for, once it is known that this steward may send it: before a byte of it is read."""
    onboard.require_upload(house, who, name, table)
    return name, table


@signed_in.put(
    "/v1/datasets/{name:path}/tables/{table}", responses={**_STEWARD, **fails(413)}, openapi_extra=_FILE_BODY
)
async def upload(
    target: Annotated[tuple[str, str], Depends(staged_dataset)], request: Request, house: TheHouse, who: Who
) -> wire.UploadOut:
    """As its steward, send the raw file of one table (CSV or Parquet); it waits for the next version."""
    name, table = target
    async with _received(request, house.staging, house.new_id()) as file:
        size = (await anyio.Path(file).stat()).st_size
        await run_sync(onboard.stage_upload, house, who, name, table, file)
    return wire.UploadOut(dataset=name, table=table, bytes=size)


@asynccontextmanager
async def _received(request: Request, folder: Path, name: str) -> AsyncIterator[Path]:
    """The body as a file that is gone afterwards, whatever happens; the journey has taken its own copy or moved it."""
    path = folder / f"upload-{name}"
    try:
        async with await anyio.open_file(path, "xb") as file:
            async for chunk in request.stream():
                await file.write(chunk)
        yield path
    finally:
        await anyio.Path(path).unlink(missing_ok=True)


@signed_in.post("/v1/datasets/{name:path}/versions", status_code=202, responses=_STEWARD)
def ingest(name: _Dataset, house: TheHouse, who: Who, lang: Lang, names: TheNames) -> wire.JobOut:
    """As its steward, make a version of the files that were sent; follow the job."""
    return question_shapes.job(onboard.start_ingest(house, who, name), lang, names)


@signed_in.get("/v1/datasets/{name:path}/report", responses={**_READS, **fails(403)})
def read_report(name: _Dataset, house: TheHouse, who: Who, lang: Lang) -> wire.ReportOut:
    """What the newest ingest found. Exact figures: for its steward alone."""
    return shapes.report(onboard.read_report(house, who, name), lang)


@signed_in.get("/v1/datasets/{name:path}", responses=_READS)
def read_card(name: _Dataset, house: TheHouse, who: Who) -> wire.Card:
    """A dataset's card: everything public about it."""
    return shapes.card(browse.read_card(house, who, name))
