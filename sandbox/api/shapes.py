"""From nouns to wire shapes: every response is made here, field by field, so that nothing else can slip out.

Owns the translation only. It decides nothing and computes nothing but what people read beside exact integers (an epsilon
for a loss). Ids of people and projects become logins and names through `Names`, read once a response.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from pydantic import JsonValue

from access.audit import Entry, Json, SignedTreeHead, public_pem
from access.catalogue import Card
from access.grants import REQUEST_OWNERS, Grant, RequestState, RequestView, Review, Terms
from access.ledger import Account, LedgerEntry
from access.people import Principal, Project, Token
from access.policy import Decision
from access.ports import Signer
from compute.engines.problems import reason_text
from compute.jobs import STATUS, Job
from compute.ports import TableReport
from privacy.errors import Text
from privacy.facts import ColumnFacts, TableFacts, Value
from privacy.loss import DELTA_UNIT, Budget, Loss
from sandbox import wire
from sandbox.journeys.house import House
from sandbox.journeys.people import labels
from sandbox.journeys.proof import Inclusion
from sandbox.journeys.reports import Report


def both(text: Text) -> wire.Bilingual:
    """Both languages of a plain text."""
    return wire.Bilingual(en=text.en, zh=text.zh)


def cell(value: object) -> wire.Cell:
    """One public value as JSON: exact decimals as numbers when a float holds them, else as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal) and Decimal(str(float(value))) == value:
        return float(value)
    return str(value)


@dataclass(kw_only=True, slots=True)
class Names:
    """Logins and names for ids, asked once an id and remembered for one response."""

    house: House
    _known: dict[str, str] = field(default_factory=dict)

    def __call__(self, key: str) -> str:
        """What to call it; the id itself when it has no name."""
        if key not in self._known:
            self._known |= labels(self.house, (key,))
        return self._known[key]


def me(who: Principal, projects: tuple[Project, ...], names: Names) -> wire.MeOut:
    """Who is asking."""
    return wire.MeOut(
        id=who.id,
        login=who.login,
        name=who.name,
        organisation=names(who.organisation),
        roles=sorted(who.roles),
        projects=[p.name for p in projects],
    )


def token(noun: Token) -> wire.TokenOut:
    """A token without its secret."""
    return wire.TokenOut(
        id=noun.id,
        label=noun.label,
        created_at=noun.created_at,
        expires_at=noun.expires_at,
        revoked_at=noun.revoked_at,
    )


def project(noun: Project, names: Names) -> wire.ProjectOut:
    """A project."""
    return wire.ProjectOut(
        id=noun.id,
        name=noun.name,
        title=noun.title,
        purpose=noun.purpose,
        organisation=names(noun.organisation),
        members=sorted(names(m) for m in noun.members),
    )


def dataset(noun: Card) -> wire.DatasetOut:
    """A line of the catalogue, from its card."""
    return wire.DatasetOut.model_validate(card(noun).model_dump())


def card(noun: Card) -> wire.Card:
    """A card: public facts alone."""
    return wire.Card(
        name=noun.name,
        title=both(noun.title),
        summary=both(noun.summary),
        provider=wire.ProviderOut(en=noun.provider.name.en, zh=noun.provider.name.zh, contact=noun.provider.contact),
        grade=noun.grade.value,
        openness=noun.openness.value,
        version=noun.version,
        tables=[_table(t) for t in noun.tables],
        policy=wire.PolicyOut(
            methods=[m.value for m in noun.methods],
            min_units=noun.min_units,
            per_project=terms(noun.per_project),
            total=terms(noun.total),
            reviewers=noun.reviewers,
            expires_at=noun.expires_at,
            purposes=list(noun.purposes),
        ),
        facts=noun.facts_digest,
        published_at=noun.published_at,
    )


def _table(noun: TableFacts) -> wire.TableOut:
    unit = noun.unit
    return wire.TableOut(
        name=noun.name,
        unit=wire.UnitOut(column=unit.column, stands_for=unit.stands_for, space=unit.space) if unit else None,
        max_rows=noun.max_rows if unit else None,
        rows=None if unit else noun.rows,
        columns=[_column(c) for c in noun.columns],
    )


def _column(noun: ColumnFacts) -> wire.ColumnOut:
    return wire.ColumnOut(
        name=noun.name,
        kind=noun.kind.value,
        nullable=noun.nullable,
        lower=_bound(noun.lower),
        upper=_bound(noun.upper),
        step=str(noun.step) if noun.kind.numeric else None,
        keys=noun.keys.value,
        domain=[cell(v) for v in noun.domain],
        unique=noun.max_repeats == 1,
    )


def _bound(value: Value | None) -> str | None:
    return None if value is None else str(cell(value)) if isinstance(value, (date, datetime)) else str(value)


def report(noun: Report, lang: str) -> wire.ReportOut:
    """The report of an ingest, for its steward."""
    trouble = noun.trouble
    return wire.ReportOut(
        dataset=noun.dataset,
        job=noun.job,
        version=noun.version,
        created_at=noun.at,
        tables=[_table_report(t, lang) for t in noun.tables],
        trouble=wire.TroubleOut(
            code=trouble.code, message=_chosen(trouble.sentence, lang), hint=_chosen(trouble.hint, lang)
        )
        if trouble
        else None,
    )


def _chosen(text: Text, lang: str) -> str:
    """One language of a plain text, which is no template."""
    return text.zh if lang.startswith("zh") else text.en


def _table_report(noun: TableReport, lang: str) -> wire.TableReportOut:
    rejected = [
        wire.RejectedOut(reason=r, message=reason_text(r).words(lang), count=c, rows=list(rows))
        for r, (c, rows) in noun.rejected.items()
    ]
    return wire.TableReportOut(
        table=noun.table,
        encoding=noun.encoding,
        rows_read=noun.rows_read,
        rows_kept=noun.rows_kept,
        units=noun.units,
        without_unit=noun.without_unit,
        max_rows_of_a_unit=noun.max_rows_of_a_unit,
        rejected=rejected,
        clipped=dict(noun.clipped),
        rounded=dict(noun.rounded),
        ignored=list(noun.ignored),
    )


def terms(budget: Budget) -> wire.BudgetTerms:
    """A budget as it was set."""
    return wire.BudgetTerms(epsilon=budget.epsilon, delta=budget.delta)


def request(view: RequestView, names: Names) -> wire.AccessRequestOut:
    """An access request with the votes the asker may see."""
    noun = view.request
    return wire.AccessRequestOut(
        id=noun.id,
        state=noun.state.value,
        turn=_turn(noun.state),
        project=names(noun.project),
        dataset=noun.dataset,
        purpose=noun.terms.purpose,
        requested_by=names(noun.author),
        created_at=noun.created_at,
        changed_at=noun.changed_at,
        round=noun.round,
        reviews=[_review(r, names) for r in view.reviews],
        reviews_needed=view.needed,
        grant=noun.grant,
        expires_at=noun.terms.expires_at,
        methods=_methods(noun.terms),
        budget=terms(noun.terms.budget),
    )


def _turn(state: RequestState) -> str:
    return REQUEST_OWNERS[state].value


def _methods(noun: Terms) -> list[str]:
    return [m.value for m in noun.methods]


def _review(noun: Review, names: Names) -> wire.ReviewOut:
    return wire.ReviewOut(
        reviewer=names(noun.reviewer), vote=noun.vote.value, round=noun.round, comment=noun.comment, at=noun.at
    )


def grant(noun: Grant, now: datetime, names: Names) -> wire.GrantOut:
    """A grant; one past its expiry is shown as expired, recorded or not."""
    return wire.GrantOut(
        id=noun.id,
        state=(noun.blocked_at(now) or noun.state).value,
        project=names(noun.project),
        dataset=noun.dataset,
        purpose=noun.terms.purpose,
        methods=_methods(noun.terms),
        budget=terms(noun.terms.budget),
        granted_at=noun.granted_at,
        expires_at=noun.terms.expires_at,
        revoked_at=noun.revoked_at,
        comment=noun.comment,
        decided_by=[names(r) for r in noun.reviewers],
        request=noun.request,
    )


def decision(noun: Decision, lang: str) -> wire.DecisionOut:
    """What the policy says; of what is hidden nothing but that."""
    return wire.DecisionOut(
        action=noun.use.value,
        allowed=noun.allowed,
        reasons=[wire.ReasonOut(code=r.code, message=r.say(lang), hint=r.advise(lang)) for r in noun.reasons],
        obligations=[o.say(lang) for o in noun.obligations],
    )


def loss(noun: Loss, epsilon: float, delta: float) -> wire.LossOut:
    """A loss with the epsilon people read beside it, stated at `delta`."""
    return wire.LossOut(
        rho_units=noun.rho,
        delta_units=noun.delta,
        epsilon=epsilon if math.isfinite(epsilon) else None,
        delta=delta,
    )


def loss_at(noun: Loss, delta: float) -> wire.LossOut:
    """A loss by itself, as (epsilon, delta)-DP at that delta."""
    return loss(noun, noun.epsilon(delta), delta)


def account(noun: Account, names: Names) -> wire.BudgetOut:
    """An account: limit, spent, set aside, left."""
    return wire.BudgetOut(
        id=noun.id,
        dataset=noun.dataset,
        project=names(noun.project) if noun.project else None,
        limit=_booked(noun, noun.limit),
        spent=_booked(noun, noun.spent),
        reserved=_booked(noun, noun.reserved),
        remaining=_booked(noun, noun.remaining),
        spent_gaussian_epsilon=noun.gaussian_epsilon(noun.spent),
    )


def _booked(of: Account, noun: Loss) -> wire.LossOut:
    return loss(noun, of.epsilon(noun), of.budget.delta)


def ledger_entry(noun: LedgerEntry, of: Account) -> wire.LedgerEntryOut:
    """One line of an account."""
    return wire.LedgerEntryOut(
        at=noun.at,
        kind=noun.kind.value,
        loss=_booked(of, noun.loss),
        reserved=_booked(of, noun.reserved),
        spent=_booked(of, noun.spent),
        job=noun.job,
    )


def delta_number(units: int) -> float:
    """Delta units as a number."""
    return units / DELTA_UNIT


def job(noun: Job, lang: str, names: Names) -> wire.JobOut:
    """A job as its people may see it; the private record stays inside."""
    return wire.JobOut(
        id=noun.id,
        kind=noun.kind.value,
        state=noun.state.value,
        status_code=noun.status.value,
        message=STATUS[noun.status].say(lang),
        progress=wire.ProgressOut(stage=noun.progress.stage, done=noun.progress.done, total=noun.progress.total),
        project=names(noun.project) if noun.project else None,
        dataset=noun.dataset,
        created_at=noun.created_at,
        finished_at=noun.changed_at if noun.state.final else None,
        finished=noun.state.final,
    )


def log_key(signer: Signer) -> wire.LogKeyOut:
    """The key to pin."""
    return wire.LogKeyOut(
        key_id=signer.key_id,
        public_key=base64.b64encode(signer.public_key).decode(),
        pem=public_pem(signer.public_key),
    )


def tree_head(noun: SignedTreeHead) -> wire.TreeHeadOut:
    """A signed tree head, field by field as it was signed."""
    parts = noun.head.parts()
    return wire.TreeHeadOut(
        size=noun.head.size,
        root=noun.head.root.hex(),
        timestamp=str(parts["timestamp"]),
        key_id=noun.head.key_id,
        type=str(parts["type"]),
        signature=base64.b64encode(noun.signature).decode(),
    )


def log_entry(index: int, noun: Entry, leaf: bytes) -> wire.LogEntryOut:
    """An entry of the log as its canonical parts."""
    parts = noun.parts()
    return wire.LogEntryOut(
        index=index,
        kind=noun.kind,
        actor=noun.actor,
        subject=noun.subject,
        at=str(parts["at"]),
        details=_plain(noun.details),
        leaf=leaf.hex(),
    )


def _plain(details: Mapping[str, Json]) -> dict[str, JsonValue]:
    return {name: _thawed(value) for name, value in details.items()}


def _thawed(value: Json) -> JsonValue:
    if isinstance(value, Mapping):
        return _plain(value)
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return [_thawed(v) for v in value]


def inclusion(noun: Inclusion) -> wire.InclusionOut:
    """An inclusion proof."""
    return wire.InclusionOut(
        index=noun.index, size=noun.size, leaf=noun.leaf.hex(), path=[node.hex() for node in noun.path]
    )
