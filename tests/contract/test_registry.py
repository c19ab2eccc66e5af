"""The duties of a Registry, held by the fake, by SQLite and by PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from access.catalogue import DatasetExists, DatasetState, DatasetVersion
from access.grants import AlreadyVoted, GrantState, RequestState, Terms, Vote, changed, submit, take_up
from access.people import NameTaken, Organisation, Project, Token
from access.policy import Method, Openness
from access.ports import (
    Cursor,
    CursorMalformed,
    IdempotencyRecord,
    IdempotencyReused,
    IngestRecord,
    Registry,
    RegistryChanged,
    Upload,
)
from privacy.facts import DatasetFacts
from privacy.loss import Budget, Loss
from sandbox.journeys.house import Work
from tests.fakes import cast
from tests.fakes.cast import DATASET, GRANT, LI, NOW, PROJECT, REQUEST, SHEN, VERSION, WANG, ZHAO, Events
from tests.fakes.furnished import furnish

Store = Registry[Work]
event = Events()


# --- transactions --------------------------------------------------------------------------------------------------------


def test_an_exception_leaves_nothing_behind(registry: Store) -> None:
    furnish(registry)
    with registry.read() as work:
        size, head = work.log.size(), work.log.head()

    def fail() -> None:
        with registry.begin() as work:
            work.people.add_member(PROJECT.id, WANG.id, entry=event())
            work.jobs.add(cast.job(), entry=event())
            work.ledger.reserve(cast.reservation(), contact="c", entry=event())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with registry.read() as work:
        assert (work.log.size(), work.log.head()) == (size, head)
        assert work.people.project(PROJECT.id) == PROJECT
        assert work.jobs.get("job-1") is None
        assert work.ledger.account("acc-total").reserved == Loss()  # type: ignore[union-attr]


WRITES: list[Callable[[Work], object]] = [
    lambda w: w.log.append(event()),
    lambda w: w.people.add_organisation(Organisation(id="o", name="n"), entry=event()),
    lambda w: w.people.add_principal(replace(LI, id="x", login="x"), password_hash=None, entry=event()),
    lambda w: w.people.add_project(replace(PROJECT, id="x", name="x"), entry=event()),
    lambda w: w.people.set_password(LI.id, "x", entry=event()),
    lambda w: w.catalogue.add(cast.dataset("x"), description="", entry=event()),
    lambda w: w.catalogue.replace(DATASET, description=None, entry=event()),
    lambda w: w.requests.change(REQUEST, submit(REQUEST, NOW), entry=event()),
    lambda w: w.requests.add_review(cast.ballot(cast.RUI), entry=event()),
    lambda w: w.grants.change(GRANT, changed(GRANT, GrantState.REVOKED, NOW), entry=event()),
    lambda w: w.ledger.set_limit("acc-total", Budget(1.0, 1e-6), entry=event()),
    lambda w: w.ledger.reserve(cast.reservation(), contact="c", entry=event()),
    lambda w: w.ledger.settle("res-1", at=NOW, entry=event()),
    lambda w: w.idempotency.add(
        IdempotencyRecord(principal=LI.id, key="k", body_digest="d", result="r", created_at=NOW), entry=event()
    ),
    lambda w: w.jobs.claim("job-1", now=NOW, entry=event()),
    lambda w: w.jobs.renew("job-1", 1, now=NOW),
    lambda w: w.jobs.cancel("job-1", now=NOW, entry=event()),
]


@pytest.mark.parametrize("number", range(len(WRITES)))
def test_a_reading_transaction_cannot_write(registry: Store, number: int) -> None:
    furnish(registry)
    with registry.read() as work:
        size = work.log.size()
    with pytest.raises(RuntimeError, match="only reads"), registry.read() as work:
        WRITES[number](work)
    with registry.read() as work:
        assert work.log.size() == size


def test_it_is_ready_once_migrated(registry: Store) -> None:
    assert registry.ready()


# --- pages ---------------------------------------------------------------------------------------------------------------


def test_pages_follow_one_another_in_both_directions(registry: Store) -> None:
    names = [f"Organisation {n}" for n in range(7)]
    with registry.begin() as work:
        for n, name in enumerate(names):
            work.people.add_organisation(Organisation(id=str(n), name=name), entry=event())
    with registry.read() as work:
        for newest_first, expected in ((False, names), (True, names[::-1])):
            seen, after = [], None
            while True:
                page = work.people.organisations(Cursor(limit=3, after=after, newest_first=newest_first))
                seen += [o.name for o in page.items]
                after = page.next
                if after is None:
                    break
            assert seen == expected
        assert work.people.organisations(Cursor(limit=7)).next is None
        assert work.people.organisations(Cursor(after="999999")).items == ()


@pytest.mark.parametrize(
    ("limit", "after"), [(0, None), (501, None), (1, ""), (1, "-1"), (1, "x"), (1, "٣"), (1, "9" * 19), (1, "1;--")]
)
def test_a_cursor_we_did_not_hand_out_is_refused(limit: int, after: str | None) -> None:
    with pytest.raises(CursorMalformed):
        Cursor(limit=limit, after=after)


# --- people --------------------------------------------------------------------------------------------------------------


def test_people_come_back_as_they_went_in(registry: Store) -> None:
    with registry.read() as work:
        assert not work.people.founded()
    furnish(registry)
    with registry.read() as work:
        assert work.people.founded()
        assert work.people.organisation(cast.UNIVERSITY.id) == cast.UNIVERSITY
        assert work.people.organisation("nobody") is None
        assert work.people.principal(LI.id) == work.people.principal_by_login("li") == LI
        assert work.people.principal("x") is work.people.principal_by_login("LI") is None
        assert cast.logins(work.people.principals(Cursor()).items) == [p.login for p in cast.EVERYBODY]
        assert work.people.password_hash(LI.id) == "hash-li"
        assert work.people.password_hash("x") is None
        assert work.people.project(PROJECT.id) == work.people.project("flow") == PROJECT
        assert work.people.project("x") is None


def test_a_taken_name_is_refused_and_the_transaction_goes_on(registry: Store) -> None:
    furnish(registry)
    with registry.begin() as work:
        size = work.log.size()
        with pytest.raises(NameTaken):
            work.people.add_organisation(Organisation(id="new", name=cast.UNIVERSITY.name), entry=event())
        with pytest.raises(NameTaken):
            work.people.add_principal(replace(LI, id="new"), password_hash=None, entry=event())
        with pytest.raises(NameTaken):
            work.people.add_project(replace(PROJECT, id="new"), entry=event())
        assert work.log.size() == size
        work.people.add_organisation(Organisation(id="new", name="New"), entry=event())
    with registry.read() as work:
        assert work.people.organisation("new") is not None
        assert work.log.size() == size + 1


def test_passwords_disabling_and_members(registry: Store) -> None:
    furnish(registry)
    with registry.begin() as work:
        work.people.set_password(LI.id, "other", entry=event())
        work.people.set_password("nobody", "other", entry=event())
        work.people.disable(LI.id, NOW, entry=event())
        work.people.disable(LI.id, NOW + timedelta(days=1), entry=event())
        work.people.disable("nobody", NOW, entry=event())
        work.people.add_member(PROJECT.id, WANG.id, entry=event())
        work.people.add_member(PROJECT.id, WANG.id, entry=event())
    with registry.read() as work:
        assert work.people.password_hash(LI.id) == "other"
        assert work.people.password_hash("nobody") is None
        assert work.people.principal(LI.id) == replace(LI, disabled_at=NOW)
        found = work.people.project(PROJECT.id)
        assert found == replace(PROJECT, members=frozenset({LI.id, WANG.id}))
        assert work.people.projects(Cursor(), member=WANG.id).items == (found,)
        assert work.people.projects(Cursor(), member=ZHAO.id).items == ()
        assert work.people.projects(Cursor()).items == (found,)


def test_a_project_named_like_another_ones_id_does_not_shadow_it(registry: Store) -> None:
    furnish(registry)
    squatter = Project(**{f: getattr(PROJECT, f) for f in PROJECT.__slots__} | {"id": "prj-2", "name": PROJECT.id})
    with registry.begin() as work:
        work.people.add_project(squatter, entry=event())
    with registry.read() as work:
        assert work.people.project(PROJECT.id) == PROJECT


def test_tokens(registry: Store) -> None:
    furnish(registry)
    token = Token(
        id="tok-1", owner=LI.id, label="笔记本", hash="e" * 64, created_at=NOW, expires_at=NOW + timedelta(hours=1)
    )
    with registry.begin() as work:
        work.people.add_token(token, entry=event())
    with registry.read() as work:
        assert work.people.token("tok-1") == work.people.token_by_hash("e" * 64) == token
        assert work.people.token("x") is work.people.token_by_hash("x") is None
        assert work.people.tokens_of(LI.id, Cursor()).items == (token,)
        assert work.people.tokens_of(WANG.id, Cursor()).items == ()
    with registry.begin() as work:
        work.people.revoke_token("tok-1", NOW, entry=event())
        work.people.revoke_token("tok-1", NOW + timedelta(hours=2), entry=event())
        work.people.revoke_token("tok-2", NOW, entry=event())
    with registry.read() as work:
        assert work.people.token("tok-1") == replace(token, revoked_at=NOW)


# --- catalogue -----------------------------------------------------------------------------------------------------------


def test_a_dataset_comes_back_as_it_went_in_digests_included(registry: Store) -> None:
    furnish(registry)
    with registry.read() as work:
        found = work.catalogue.get(DATASET.name)
        assert found == replace(DATASET, version=VERSION.digest)
        assert found is not None
        assert found.facts.digest() == DATASET.facts.digest()
        assert found.policy.digest() == DATASET.policy.digest()
        version = work.catalogue.version(DATASET.name, VERSION.digest)
        assert version == VERSION
        assert version is not None
        assert version.facts_digest == VERSION.facts_digest
        assert work.catalogue.version(DATASET.name, "b" * 64) is None
        assert work.catalogue.version("x", VERSION.digest) is None
        assert work.catalogue.get("x") is work.catalogue.description("x") is None
        assert work.catalogue.description(DATASET.name) == "dataset: health/visits\n"


def test_datasets_are_replaced_listed_and_never_added_twice(registry: Store) -> None:
    furnish(registry)
    withdrawn = replace(DATASET, state=DatasetState.WITHDRAWN, version=VERSION.digest)
    closed = cast.dataset("tax/secret", openness=Openness.CLOSED, policy=replace(cast.POLICY, expires_at=None))
    with registry.begin() as work:
        with pytest.raises(DatasetExists):
            work.catalogue.add(DATASET, description="", entry=event())
        work.catalogue.add(closed, description="closed", entry=event())
        work.catalogue.add(cast.dataset("open"), description="open", entry=event())
        work.catalogue.replace(withdrawn, description=None, entry=event())
        work.catalogue.replace(closed, description="new text", entry=event())
    with registry.read() as work:
        assert work.catalogue.get(DATASET.name) == withdrawn
        assert work.catalogue.description(DATASET.name) == "dataset: health/visits\n"
        assert work.catalogue.description(closed.name) == "new text"
        assert [d.name for d in work.catalogue.list(Cursor()).items] == [DATASET.name, closed.name, "open"]
        assert [d.name for d in work.catalogue.list(Cursor(), visible_to=LI.id).items] == ["open"]
        assert len(work.catalogue.list(Cursor(), visible_to=SHEN.id).items) == 3


def test_versions_follow_one_another(registry: Store) -> None:
    furnish(registry)
    second = replace(VERSION, digest="c" * 64, facts=DatasetFacts(tables=()), created_at=NOW + timedelta(days=1))
    with registry.begin() as work:
        work.catalogue.add_version(second, entry=event())
    with registry.read() as work:
        assert work.catalogue.versions(DATASET.name, Cursor()).items == (VERSION, second)
        assert work.catalogue.versions("x", Cursor()).items == ()
        assert work.catalogue.get(DATASET.name).version == second.digest  # type: ignore[union-attr]


def test_uploads_and_reports(registry: Store) -> None:
    furnish(registry)
    upload = Upload(
        dataset=DATASET.name,
        table="就诊",
        path="/staging/1",
        digest="f" * 64,
        size=3_000_000_000,
        uploaded_by=SHEN.id,
        uploaded_at=NOW,
    )
    with registry.begin() as work:
        assert work.catalogue.uploads(DATASET.name) == ()
        assert work.catalogue.latest_report(DATASET.name) is None
        work.catalogue.stage(upload, entry=event())
        work.catalogue.stage(replace(upload, table="districts"), entry=event())
        work.catalogue.stage(replace(upload, path="/staging/2"), entry=event())
    record = IngestRecord(dataset=DATASET.name, job="job-1", version=None, report='{"行":1}', at=NOW)
    with registry.begin() as work:
        assert [(u.table, u.path) for u in work.catalogue.uploads(DATASET.name)] == [
            ("districts", "/staging/1"),
            ("就诊", "/staging/2"),
        ]
        work.catalogue.drop_uploads(DATASET.name, entry=event())
        work.catalogue.add_report(record, entry=event())
        work.catalogue.add_report(replace(record, version=VERSION.digest), entry=event())
    with registry.read() as work:
        assert work.catalogue.uploads(DATASET.name) == ()
        assert work.catalogue.latest_report(DATASET.name) == replace(record, version=VERSION.digest)


# --- requests and grants -------------------------------------------------------------------------------------------------


def test_requests_change_only_from_what_they_were(registry: Store) -> None:
    furnish(registry)
    submitted = submit(REQUEST, NOW + timedelta(hours=1))
    with registry.begin() as work:
        work.requests.change(REQUEST, submitted, entry=event())
    with registry.begin() as work:
        size = work.log.size()
        with pytest.raises(RegistryChanged):
            work.requests.change(REQUEST, replace(REQUEST, state=RequestState.WITHDRAWN), entry=event())
        with pytest.raises(RegistryChanged):
            work.requests.change(replace(submitted, round=2), take_up(submitted, NOW), entry=event())
        with pytest.raises(RegistryChanged):
            work.requests.change(replace(REQUEST, id="x"), submitted, entry=event())
        assert work.log.size() == size
    with registry.read() as work:
        assert work.requests.get(REQUEST.id) == submitted
        assert work.requests.get("x") is None


def test_requests_are_listed_for_members_and_stewards(registry: Store) -> None:
    furnish(registry)
    forever = replace(
        REQUEST, id="req-2", terms=Terms(purpose="p", methods=(Method.ASK, Method.RUN), budget=Budget(1, 0.1))
    )
    with registry.begin() as work:
        work.requests.add(forever, entry=event())
    with registry.read() as work:
        assert work.requests.list(Cursor()).items == (REQUEST, forever)
        assert work.requests.list(Cursor(), visible_to=LI.id).items == (REQUEST, forever)
        assert work.requests.list(Cursor(), visible_to=SHEN.id).items == (REQUEST, forever)
        assert work.requests.list(Cursor(), visible_to=ZHAO.id).items == ()
        assert work.requests.list(Cursor(), states=(RequestState.SUBMITTED,)).items == ()
        assert len(work.requests.list(Cursor(), states=(RequestState.SUBMITTED, RequestState.DRAFT)).items) == 2


def test_one_vote_a_reviewer_and_round(registry: Store) -> None:
    furnish(registry)
    first, second = cast.ballot(cast.RUI), cast.ballot(cast.RUI, Vote.REFUSE, 2)
    with registry.begin() as work:
        assert work.requests.reviews(REQUEST.id) == ()
        work.requests.add_review(first, entry=event())
        with pytest.raises(AlreadyVoted):
            work.requests.add_review(replace(first, vote=Vote.REFUSE), entry=event())
        work.requests.add_review(cast.ballot(cast.RONG), entry=event())
        work.requests.add_review(second, entry=event())
    with registry.read() as work:
        assert work.requests.reviews(REQUEST.id) == (first, cast.ballot(cast.RONG), second)


def test_grants(registry: Store) -> None:
    furnish(registry)
    second = replace(GRANT, id="grant-2", reviewers=(), terms=replace(GRANT.terms, expires_at=None))
    with registry.begin() as work:
        assert work.grants.newest(PROJECT.id, DATASET.name) is None
        work.grants.add(GRANT, entry=event())
        work.grants.add(second, entry=event())
    with registry.read() as work:
        assert work.grants.get(GRANT.id) == GRANT
        assert work.grants.get("x") is None
        assert work.grants.newest(PROJECT.id, DATASET.name) == second
        assert work.grants.newest(PROJECT.id, "x") is None
        for viewer, seen in ((None, 2), (LI.id, 2), (SHEN.id, 2), (ZHAO.id, 0)):
            assert len(work.grants.list(Cursor(), visible_to=viewer).items) == seen
        assert work.grants.due(NOW) == ()
        assert work.grants.due(cast.LATER) == (GRANT,)


def test_grants_change_only_from_what_they_were(registry: Store) -> None:
    furnish(registry)
    revoked = changed(GRANT, GrantState.REVOKED, NOW, "why")
    with registry.begin() as work:
        work.grants.add(GRANT, entry=event())
        work.grants.change(GRANT, revoked, entry=event())
        with pytest.raises(RegistryChanged):
            work.grants.change(GRANT, changed(GRANT, GrantState.SUSPENDED, NOW), entry=event())
        with pytest.raises(RegistryChanged):
            work.grants.change(replace(GRANT, id="x"), revoked, entry=event())
    with registry.read() as work:
        assert work.grants.get(GRANT.id) == revoked
        assert work.grants.due(cast.LATER) == ()


# --- answers, receipts, keys ---------------------------------------------------------------------------------------------


def test_answers_are_found_by_what_is_offered(registry: Store) -> None:
    furnish(registry)
    with registry.begin() as work:
        for n, (rho, delta) in enumerate([(100, 5), (300, 0), (300, 5), (200, 9)]):
            work.jobs.add(cast.job(f"job-{n}"), entry=event())
            work.answers.add(cast.answer(f"ans-{n}", f"job-{n}", rho, delta), entry=event())
        work.receipts.add(cast.receipt(), entry=event())
    with registry.read() as work:

        def find(rho: int, delta: int) -> str | None:
            found = work.answers.find(PROJECT.id, "b" * 64, VERSION.digest, Loss(rho, delta))
            return found.id if found else None

        assert find(50, 0) == find(300, 5) == "ans-2"
        assert find(100, 6) == find(200, 9) == "ans-3"
        assert find(301, 0) is find(0, 10) is None
        assert work.answers.find("x", "b" * 64, VERSION.digest, Loss()) is None
        assert work.answers.find(PROJECT.id, "x", VERSION.digest, Loss()) is None
        assert work.answers.find(PROJECT.id, "b" * 64, "x", Loss()) is None
        assert work.answers.get("ans-0") == work.answers.of_job("job-0") == cast.answer("ans-0", "job-0", 100, 5)
        assert work.answers.get("x") is work.answers.of_job("x") is None


def test_receipts_know_their_place_in_the_log(registry: Store) -> None:
    furnish(registry)
    entry = event("test.receipt")
    with registry.begin() as work:
        work.jobs.add(cast.job(), entry=event())
        index = work.receipts.add(cast.receipt(), entry=entry)
        assert work.log.entry(index) == entry
    with registry.read() as work:
        found = work.receipts.get("rec-1")
        assert found == work.receipts.of_job("job-1") == replace(cast.receipt(), index=index)
        assert work.receipts.get("x") is work.receipts.of_job("x") is None
        assert work.receipts.list(Cursor()).items == (found,)
        assert work.receipts.list(Cursor(), project=PROJECT.id, dataset=DATASET.name).items == (found,)
        assert work.receipts.list(Cursor(), project="x").items == ()
        assert work.receipts.list(Cursor(), dataset="x").items == ()


def test_idempotency_keys(registry: Store) -> None:
    furnish(registry)
    record = IdempotencyRecord(principal=LI.id, key="键-1", body_digest="1" * 64, result="job-1", created_at=NOW)
    with registry.begin() as work:
        assert work.idempotency.lookup(LI.id, "键-1", "1" * 64) is None
        work.idempotency.add(record, entry=event())
        with pytest.raises(IdempotencyReused):
            work.idempotency.add(replace(record, result="job-2"), entry=event())
        work.idempotency.add(replace(record, principal=WANG.id, result="job-3"), entry=event())
    with registry.read() as work:
        assert work.idempotency.lookup(LI.id, "键-1", "1" * 64) == "job-1"
        assert work.idempotency.lookup(WANG.id, "键-1", "1" * 64) == "job-3"
        with pytest.raises(IdempotencyReused):
            work.idempotency.lookup(LI.id, "键-1", "2" * 64)


def test_a_version_is_what_the_facts_say(registry: Store) -> None:
    """Facts whose spelling differs have different digests, and the store keeps the spelling."""
    furnish(registry)
    with registry.read() as work:
        found = work.catalogue.version(DATASET.name, VERSION.digest)
    assert isinstance(found, DatasetVersion)
    amount = found.facts.tables[0].column("amount")
    assert amount is not None
    assert str(amount.lower) == "-1.50"
