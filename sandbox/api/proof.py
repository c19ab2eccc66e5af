"""Routes about proof: receipts, the key that signs them, and the audit log's heads, entries and proofs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from access.merkle import leaf_hash
from sandbox import wire
from sandbox.api import shapes
from sandbox.api.contract import fails
from sandbox.api.guards import SIGNED_IN, TheHouse, ThePage, Who
from sandbox.journeys import proof

public = APIRouter(tags=["proof"])
signed_in = APIRouter(tags=["proof"], dependencies=SIGNED_IN)
_Place = Annotated[int, Query(ge=0, le=2**53)]
_RECEIPT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The receipt, byte for byte.", "content": {"application/json": {"schema": {"type": "object"}}}}
}


@signed_in.get(
    "/v1/receipts/{receipt_id}", response_class=Response, responses={**_RECEIPT, **fails(400, 401, 404, 503)}
)
def read_receipt(receipt_id: wire.Identity, house: TheHouse, who: Who) -> Response:
    """A receipt as one file. Keep its bytes as they are: `sandbox receipt verify` checks every one of them, offline."""
    body = proof.read_receipt(house, who, receipt_id)
    return Response(body, media_type="application/json")


@public.get("/v1/log/key")
def read_key(house: TheHouse) -> wire.LogKeyOut:
    """The public key of this instance. Pin it through a channel you trust more than this one."""
    return shapes.log_key(house.signer)


@signed_in.get("/v1/log/head", responses=fails(401, 404))
def read_head(house: TheHouse) -> wire.TreeHeadOut:
    """The newest signed tree head. Keep it: it shows later that nothing before it was changed."""
    return shapes.tree_head(proof.log_head(house))


@signed_in.get("/v1/log/entries", responses=fails(400, 401, 403))
def list_entries(house: TheHouse, who: Who, page: ThePage) -> wire.Page[wire.LogEntryOut]:
    """The entries of the log, for auditors and operators."""
    found = proof.log_entries(house, who, page.cursor("oldest"))
    items = [shapes.log_entry(i, entry, leaf_hash(entry.leaf())) for i, entry in found.items]
    return wire.Page(items=items, next=found.next)


@signed_in.get("/v1/log/consistency", responses=fails(400, 401, 404))
def read_consistency(first: _Place, second: _Place, house: TheHouse) -> wire.ConsistencyOut:
    """Proof that the log of size `second` extends the log of size `first` (RFC 9162, 2.1.4)."""
    path = proof.log_consistency(house, first, second)
    return wire.ConsistencyOut(first=first, second=second, path=[node.hex() for node in path])


@signed_in.get("/v1/log/inclusion", responses=fails(400, 401, 404))
def read_inclusion(index: _Place, size: _Place, house: TheHouse) -> wire.InclusionOut:
    """Proof that entry `index` is in the log of that size (RFC 9162, 2.1.3)."""
    return shapes.inclusion(proof.log_inclusion(house, index, size))
