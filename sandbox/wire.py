"""The shapes that travel between client and server, and nothing else.

Owns one small pydantic model for every request and response of the REST interface under `/v1`. It imports only pydantic
and the standard library, so both sides may share it; it knows no rule and computes nothing. A request refuses unknown
fields (a typing mistake must never be ignored where money is spent); a response tolerates them, so that an older client
reads a newer server. Instants are UTC; JSON never carries NaN or an infinity: an infinite epsilon is `null`.

One file, though long: it is a flat list of declarations in the order of the routes, and a newcomer reads the whole
interface here top to bottom.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Cell = str | int | float | bool | None
"""One value of an answer: dates and timestamps travel as ISO 8601 text, NULL as `null`."""

Grade = Literal["L1", "L2", "L3", "L4"]
Openness = Literal["unconditional", "conditional", "closed"]
Method = Literal["ask", "run", "aggregate"]
JobState = Literal["created", "queued", "running", "succeeded", "failed", "cancelled", "killed"]
RequestState = Literal["draft", "submitted", "in_review", "returned", "granted", "refused", "withdrawn"]
GrantState = Literal["active", "suspended", "expired", "revoked"]

MAX_SQL = 100_000
"""Longest SQL text, in characters."""
MAX_JSON = 1_000_000
"""Largest JSON body, in bytes."""

Action = Literal[
    "see_dataset", "register_dataset", "change_dataset", "read_report", "create_people", "create_project",
    "read_project", "change_project", "request_access", "read_request", "change_request", "review_request",
    "read_grant", "revoke_grant", "preview", "ask", "read_job", "cancel_job", "read_receipt", "read_account", "read_log",
]  # fmt: skip
"""Everything that can be asked of the house."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\u0000-\u001f]+$")]
Prose = Annotated[str, Field(max_length=4000, pattern=r"^[^\u0000]*$")]
Identity = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^/\u0000-\u001f]+$")]


class Asked(BaseModel):
    """Base of every request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Told(BaseModel):
    """Base of every response body: unknown fields are tolerated."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


T = TypeVar("T", bound=BaseModel)


class Page(Told, Generic[T]):
    """One page of a list. Pass `next` as `after` to read on; `null` means the end."""

    items: list[T]
    next: str | None = None


class Bilingual(Told):
    """One text in both languages."""

    en: str
    zh: str


class FieldProblem(Told):
    """One field of a request that cannot be read."""

    field: str = Field(description="Where: a dotted path such as `body.sql` or `query.limit`.")
    message: str = Field(description="What is allowed there.")


class ProblemOut(Told):
    """An RFC 9457 problem. `code` is stable; the sentences are in the asker's language."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field(description="A relative address that explains the code: `/v1/problems/{code}`.")
    title: str = Field(description="The kind of problem, in few words.")
    status: int
    detail: str = Field(description="What was wrong.")
    code: str = Field(description="Stable, dotted, lower-case: for example `ledger.exhausted`.")
    hint: str = Field(description="What is allowed, what to do next, whom to ask.")
    reference: str = Field(description="Names this request in the operator's log; also in the `X-Reference` header.")
    params: dict[str, JsonValue] = Field(default_factory=dict, description="The figures and names in the sentences.")
    errors: list[FieldProblem] = Field(default_factory=list, description="The fields that cannot be read, if any.")


class ProblemDoc(Told):
    """What a problem code means."""

    code: str
    status: int
    kind: str
    title: Bilingual
    sentence: Bilingual
    hint: Bilingual


class ProblemDocs(Told):
    """Every problem code of this server."""

    items: list[ProblemDoc]


class SessionIn(Asked):
    """Sign in with a local account."""

    login: Name
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class MeOut(Told):
    """Who is asking."""

    id: str
    login: str
    name: str
    organisation: str
    roles: list[str]
    projects: list[str] = Field(default_factory=list, description="Names of the projects you are a member of.")


class SessionOut(Told):
    """A token for the signed-in person. The secret is shown once."""

    token: str
    token_id: str
    expires_at: datetime
    me: MeOut


class TokenIn(Asked):
    """Ask for one more API token of your own."""

    label: Name
    days: Annotated[int, Field(ge=1, le=365)] = 30


class TokenOut(Told):
    """An API token, without its secret."""

    id: str
    label: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


class TokenIssued(TokenOut):
    """A new API token with its secret, shown once."""

    token: str


class ProjectIn(Asked):
    """Open a project of your own organisation."""

    name: Name
    title: Name
    purpose: Annotated[str, Field(min_length=1, max_length=4000)]


class MemberIn(Asked):
    """Add a member to a project."""

    login: Name


class ProjectOut(Told):
    """A project: purpose, members, one organisation that answers for it."""

    id: str
    name: str
    title: str
    purpose: str
    organisation: str
    members: list[str] = Field(description="Logins.")


class ProviderOut(Told):
    """Who provides a dataset, and whom to ask about it."""

    en: str
    zh: str
    contact: str


class BudgetIn(Asked):
    """A privacy budget as people name it."""

    epsilon: Annotated[float, Field(gt=0, le=1_000_000)]
    delta: Annotated[float, Field(gt=0, lt=1)]


class BudgetTerms(Told):
    """A privacy budget that a policy or a grant sets."""

    epsilon: float
    delta: float


class PolicyOut(Told):
    """The steward's terms."""

    methods: list[str]
    min_units: int
    per_project: BudgetTerms
    total: BudgetTerms
    reviewers: int
    expires_at: datetime | None = None
    purposes: list[str] = Field(default_factory=list, description="Empty: any purpose.")


class ColumnOut(Told):
    """The public facts of one column. `domain` lists public keys; bounds are inclusive, as text."""

    name: str
    kind: str
    nullable: bool
    lower: str | None = None
    upper: str | None = None
    step: str | None = None
    keys: Literal["public", "private"]
    domain: list[Cell] = Field(default_factory=list)
    unique: bool = False


class UnitOut(Told):
    """Whose presence is hidden."""

    column: str
    stands_for: str
    space: str


class TableOut(Told):
    """The public facts of one table. A table without `unit` is a public side table, whose `rows` are public."""

    name: str
    unit: UnitOut | None = None
    max_rows: int | None = Field(default=None, description="Rows one unit counts for at most (private tables).")
    rows: int | None = Field(default=None, description="Size (public tables only).")
    columns: list[ColumnOut]


class DatasetOut(Told):
    """A dataset as the catalogue lists it."""

    name: str
    title: Bilingual
    summary: Bilingual
    provider: ProviderOut
    grade: Grade
    openness: Openness
    version: str | None = Field(default=None, description="Digest of the current version; null before the first.")


class Card(DatasetOut):
    """Everything a researcher may see of a dataset, built from public facts alone."""

    tables: list[TableOut]
    policy: PolicyOut
    facts: str = Field(description="Digest of the public facts.")
    published_at: datetime | None = Field(default=None, description="When the current version was made.")


class UploadOut(Told):
    """A raw file received for one table; it waits for the next version."""

    dataset: str
    table: str
    bytes: int


class RejectedOut(Told):
    """Rows refused at ingest for one reason."""

    reason: str = Field(description="A stable code, `kind` or `kind:column`.")
    message: str = Field(default="", description="The reason in the asker's language.")
    count: int
    rows: list[int] = Field(description="The first row numbers, 1-based, header not counted.")


class TableReportOut(Told):
    """What ingest found in one table. Exact figures: for the steward's eyes only."""

    table: str
    encoding: str
    rows_read: int
    rows_kept: int
    units: int
    without_unit: int
    max_rows_of_a_unit: int
    rejected: list[RejectedOut]
    clipped: dict[str, int] = Field(description="Values put back to a bound, by column.")
    rounded: dict[str, int] = Field(default_factory=dict, description="Values put on the lattice, by column.")
    ignored: list[str] = Field(default_factory=list, description="Columns of the file that are not described.")


class TroubleOut(Told):
    """What was wrong with the files, and what to do."""

    code: str
    message: str
    hint: str


class ReportOut(Told):
    """The report of the newest ingest. For the steward's eyes only."""

    dataset: str
    job: str
    version: str | None = Field(description="Null when the ingest made no version.")
    created_at: datetime
    tables: list[TableReportOut]
    trouble: TroubleOut | None = Field(default=None, description="Why it made no version.")


class AccessRequestIn(Asked):
    """Ask for the use of a dataset in a project. Without `submit` it stays a draft."""

    project: Name
    dataset: Name
    purpose: Annotated[str, Field(min_length=1, max_length=4000)] = Field(
        description="Why the data is needed; one of the card's purposes where the policy lists any."
    )
    methods: Annotated[list[Method], Field(min_length=1, max_length=3)] = ["ask"]
    budget: BudgetIn | None = Field(default=None, description="What you ask for; by default all the policy allows.")
    expires: date | None = Field(default=None, description="The last day of use, in UTC; by default the policy's.")
    submit: bool = True


class ReviewIn(Asked):
    """One reviewer's vote. It stays hidden from the other reviewers until all that are needed are in."""

    vote: Literal["grant", "refuse", "return"]
    comment: Prose = ""


class CommentIn(Asked):
    """A word with a move or a vote."""

    comment: Prose = ""


class ReviewOut(Told):
    """A vote, once it may be seen."""

    reviewer: str = Field(description="Login.")
    vote: Literal["grant", "refuse", "return"]
    round: int
    comment: str
    at: datetime


class AccessRequestOut(Told):
    """What a project asked for, and where it stands. `turn` says who moves next."""

    id: str
    state: RequestState
    turn: str = Field(description="Who moves next: author, reviewer or system (nobody).")
    project: str
    dataset: str
    purpose: str
    methods: list[str]
    budget: BudgetTerms
    expires_at: datetime | None = None
    requested_by: str = Field(description="Login.")
    created_at: datetime
    changed_at: datetime
    round: int = Field(description="Counts the submissions; only votes of the current round count.")
    reviews: list[ReviewOut] = Field(default_factory=list)
    reviews_needed: int = 1
    grant: str | None = Field(default=None, description="Id of the grant, once granted.")


class GrantOut(Told):
    """A promise with limits, revocable."""

    id: str
    state: GrantState
    project: str
    dataset: str
    purpose: str
    methods: list[str]
    budget: BudgetTerms
    granted_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    comment: str = ""
    decided_by: list[str] = Field(description="Logins of the reviewers.")
    request: str


class ExplainIn(Asked):
    """Ask whether something would be allowed, and why. Nothing happens."""

    action: Action
    dataset: Name | None = None
    project: Name | None = None
    request: Identity | None = None


class ReasonOut(Told):
    """One reason of a decision."""

    code: str
    message: str
    hint: str = ""


class DecisionOut(Told):
    """What the policy says, with every reason and not only the first."""

    action: str
    allowed: bool
    reasons: list[ReasonOut]
    obligations: list[str]


class LossOut(Told):
    """A privacy loss. The integers are exact (rho in 1e-9, delta in 1e-15); epsilon is for people, null if infinite."""

    rho_units: int = 0
    delta_units: int = 0
    epsilon: float | None = 0.0
    delta: float = Field(default=0.0, description="The delta at which `epsilon` is stated.")


class BudgetOut(Told):
    """One account: what may be spent, was spent, is set aside, is left. `project` null: the dataset in total."""

    id: str
    dataset: str
    project: str | None
    limit: LossOut
    spent: LossOut
    reserved: LossOut
    remaining: LossOut
    spent_gaussian_epsilon: float | None = Field(
        default=None,
        description="Information only: the epsilon of what was spent, at the same delta, if all noise were continuous Gaussian. "
        "A numerical accountant (PLD) comes to about that; the part that chooses bounds draws other noise. The ledger counts "
        "rho and promises `spent.epsilon`.",
    )


class LedgerEntryOut(Told):
    """One line of an account."""

    at: datetime
    kind: Literal["opened", "limit_set", "reserved", "settled", "voided"]
    loss: LossOut
    reserved: LossOut = Field(description="Set aside on the account after this line.")
    spent: LossOut = Field(description="Spent from the account after this line.")
    job: str | None = None


_Columns = Annotated[list[Name], Field(max_length=100, description="The columns it holds for; all values by default.")]


class WidthIn(Asked):
    """A wish: no value's ± (half of its 95 % interval) is above `half_width`, in the column's unit.

    The ± of an average is that of a group of 1,000 rows, as the preview tells it.
    """

    half_width: Annotated[float, Field(gt=0)]
    columns: _Columns = []


class ShareIn(Asked):
    """A wish: the ± is at most this share of the value, in the median cell of every column.

    How large the values are is read from this project's best-paid answer to the same question. `pilot` asks for such an answer
    first: the first one costs 1/2,000 of what may be paid, each further one four times the last, all together below 1/20.
    """

    share: Annotated[float, Field(gt=0, le=1)]
    pilot: bool = False
    columns: _Columns = []


class ShareOfIn(Asked):
    """A wish: no value's ± is above this share of a size that the asker supposes, in the column's unit."""

    share: Annotated[float, Field(gt=0, le=1)]
    of: Annotated[float, Field(gt=0)]
    columns: _Columns = []


WithinIn = WidthIn | ShareOfIn | ShareIn
_Sql = Annotated[str, Field(min_length=1, max_length=MAX_SQL)]
_Epsilon = Annotated[float, Field(gt=0, le=1_000_000)]
_Delta = Annotated[float, Field(gt=0, lt=1)]


class QuestionIn(Asked):
    """A question in SQL. (epsilon, delta) is the price offered for the whole answer.

    With `within` the least price that is exact enough is found and offered, and `epsilon` is the most that may be paid (without
    one, all that is left).
    """

    project: Name
    dataset: Name
    sql: _Sql
    epsilon: _Epsilon | None = None
    delta: _Delta | None = None
    within: WithinIn | None = None


class BatchIn(Asked):
    """1 to 20 questions in SQL at one price: (epsilon, delta) is offered for all of their answers together.

    Each different question gets the same part of rho, which is more than it gets alone for its part of epsilon. All are asked, or
    none. A problem of one question has its number (from 1) as `question` among its `params`.
    """

    project: Name
    dataset: Name
    questions: list[_Sql]
    epsilon: _Epsilon | None = None
    delta: _Delta | None = None


class NoiseOut(Told):
    """The noise on one column. `scale` is in the column's own unit."""

    kind: str = Field(description="For example `discrete_gaussian`.")
    scale: float


class ColumnPreview(Told):
    """What one column of the answer would look like.

    `plus_minus` is half the 95 % interval: of one cell, or with `rows` (an average) of a group of that many rows; null
    where it depends on the answer itself. `noise` is null then too, where the question has yet to choose its bounds.
    """

    name: str
    kind: str
    role: Literal["key", "value"]
    noise: NoiseOut | None = None
    plus_minus: float | None = None
    rows: int | None = None


class PreviewOut(Told):
    """What a question would cost and how exact it would be. No data was touched, nothing was spent."""

    dataset: str
    project: str
    question: str
    version: str
    plan: str = Field(description="Digest of the plan.")
    mechanism: str
    cost: LossOut
    columns: list[ColumnPreview]
    cells: int | None = Field(
        description="Cells that get noise: of the aggregating subquery, where SELECTs stand around it. Null for private keys."
    )
    selects_keys: bool
    key_selection: str | None = Field(default=None, description="How many units a private key needs to appear.")
    repeated: bool = Field(description="True when the stored answer would be returned at no cost.")
    affordable: bool
    more_like_it: int = Field(description="How many such questions what is left pays for, this one included.")
    remaining: LossOut
    notes: list[str] = Field(default_factory=list)


class BatchPreviewOut(Told):
    """What questions asked together would cost, and how exact each would be for its part. Nothing was spent."""

    questions: list[PreviewOut] = Field(
        description="In the order asked; `affordable` and `more_like_it` are of it alone."
    )
    cost: LossOut = Field(description="Of all different questions together.")
    charged: LossOut = Field(description="What asking now would be charged: nothing for what has a stored answer.")
    affordable: bool = Field(description="True when all of them can be asked now.")
    remaining: LossOut


class AnswerColumn(Told):
    """One column of an answer. Keys carry no noise."""

    name: str
    kind: str
    role: Literal["key", "value"]
    noise: NoiseOut | None = None


class BoundOut(Told):
    """How far one privacy unit can move one statistic: the L2 norm over all cells together."""

    statistic: str
    bound: float
    share: float = Field(description="The part of the question's rho that paid for it.")


class AnswerOut(Told):
    """Noisy values with 95 % intervals, what they cost, and the receipt that proves them."""

    question: str
    dataset: str
    project: str
    version: str
    plan: str
    columns: list[AnswerColumn]
    rows: list[list[Cell]]
    intervals: list[list[tuple[float, float] | tuple[str, str] | None]] = Field(
        description="For each row and column [low, high] at 95 %, texts where the value is a day or a moment, "
        "or null for keys and where none is stated."
    )
    mechanism: str
    bounds: list[BoundOut] = Field(default_factory=list)
    cost: LossOut
    charged: LossOut = Field(description="What this asking was charged: zero when the stored answer was returned.")
    repeated: bool = False
    suppressed: str | None = Field(default=None, description="A note when cells were, or may have been, left out.")
    notes: list[str] = Field(default_factory=list)
    receipt: str | None = Field(default=None, description="Id of the receipt.")
    digest: str | None = Field(default=None, description="SHA-256 of the released answer, as the receipt names it.")
    answered_at: datetime | None = None


class ProgressOut(Told):
    """How far a job is. `total` 0 means unknown."""

    stage: str = ""
    done: int = 0
    total: int = 0


class JobOut(Told):
    """Asked work. `state` is what the machine acts on; `message` is for people."""

    id: str
    kind: str = Field(description="`ask` or `ingest`.")
    state: JobState
    status_code: str
    message: str
    progress: ProgressOut = ProgressOut()
    project: str | None = None
    dataset: str | None = None
    created_at: datetime
    finished_at: datetime | None = None
    finished: bool = Field(description="True when the state will not change any more.")
    problem: ProblemOut | None = Field(default=None, description="Why it failed, if it did.")


class QueryOut(Told):
    """A question that was asked: its job, and its answer once there is one. Its id is the job's id."""

    id: str
    question: str
    job: JobOut
    answer: AnswerOut | None = None
    repeated: bool = False


class BatchOut(Told):
    """Questions that were asked together, in the order asked. Of equal questions the first is charged, the others `repeated`."""

    questions: list[QueryOut]
    charged: LossOut = Field(description="What asking all of them was charged. Losses add, epsilons do not.")


class JobEvent(Told):
    """One event of a job's progress stream (Server-Sent Events); `id` is what `Last-Event-ID` resumes after."""

    id: str
    job: JobOut


class LogKeyOut(Told):
    """The key that signs tree heads and receipts. Pin it: never trust a key that came with a receipt."""

    key_id: str
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = Field(description="32 bytes, base64.")
    pem: str = Field(description="The same key as PEM SubjectPublicKeyInfo.")


class TreeHeadOut(Told):
    """A signed tree head (RFC 9162)."""

    size: int
    root: str = Field(description="Hex.")
    timestamp: str = Field(description="As signed: UTC, microseconds, Z.")
    key_id: str
    type: str
    signature: str = Field(description="Base64, over the canonical JSON of the other five fields.")


class LogEntryOut(Told):
    """One entry of the audit log, as far as the asker may see it. `leaf` is its Merkle leaf hash, in hex."""

    index: int
    kind: str
    actor: str
    subject: str
    at: str
    details: dict[str, JsonValue]
    leaf: str


class ConsistencyOut(Told):
    """Proof that the log of size `second` extends the log of size `first`."""

    first: int
    second: int
    path: list[str] = Field(description="Hex node hashes.")


class InclusionOut(Told):
    """Proof that entry `index` is in the log of size `size`."""

    index: int
    size: int
    leaf: str
    path: list[str] = Field(description="Hex node hashes.")


class HealthOut(Told):
    """Whether the process lives (`/healthz`) or can serve (`/readyz`)."""

    status: Literal["ok", "unready"]
    checks: dict[str, bool] = Field(default_factory=dict)
