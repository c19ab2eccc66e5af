"""The verbs of everyone who does not ask: stewards, reviewers, project owners, auditors; one method per route.

Owns nothing but the mapping from a verb to a route; it returns the wire's shapes as they are and decides nothing. Reached
as `hub.desk`, so that a researcher's `hub` stays small. `sandbox …` on the command line is a thin layer over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

from pydantic import ValidationError

from sandbox.client import errors
from sandbox.client.transport import Call, Wire
from sandbox.say import say
from sandbox.wire import (
    AccessRequestIn,
    AccessRequestOut,
    BudgetIn,
    BudgetOut,
    Card,
    CommentIn,
    DatasetOut,
    DecisionOut,
    ExplainIn,
    GrantOut,
    JobOut,
    LedgerEntryOut,
    LogEntryOut,
    LogKeyOut,
    MemberIn,
    MeOut,
    Method,
    ProjectIn,
    ProjectOut,
    ReportOut,
    ReviewIn,
    SessionIn,
    SessionOut,
    TokenIn,
    TokenIssued,
    TokenOut,
    TreeHeadOut,
    UploadOut,
)

Vote = Literal["grant", "refuse", "return"]
Decision = Literal["grant", "refuse", "return", "withdraw", "submit"]
GrantVerb = Literal["revoke", "suspend", "resume"]

#: A large file may take a while to be stored.
UPLOAD_TIMEOUT = 600.0


def actions() -> tuple[str, ...]:
    """Everything `explain` can be asked about, as the wire names it."""
    return get_args(ExplainIn.model_fields["action"].annotation)


def segment(name: str) -> str:
    """A name as part of a path; the "/" of a dataset's name stays."""
    return quote(name, safe="/")


class Desk:
    """The verbs beside asking. Every method may raise a `SandboxError`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def sign_in(self, login: str, password: str) -> SessionOut:
        """A token for a local account; this wire uses it from now on."""
        session = self._wire.post(SessionOut, "/v1/session", SessionIn(login=login, password=password))
        self._wire.token = session.token
        return session

    def me(self) -> MeOut:
        """Who is asking."""
        return self._wire.get(MeOut, "/v1/me")

    def tokens(self) -> Iterator[TokenOut]:
        """Your API tokens, without their secrets."""
        return self._wire.pages(TokenOut, "/v1/tokens")

    def create_token(self, label: str, *, days: int = 30) -> TokenIssued:
        """One more token of your own; its secret is shown this once."""
        return self._wire.post(TokenIssued, "/v1/tokens", TokenIn(label=label, days=days))

    def revoke_token(self, token_id: str) -> None:
        """End a token at once."""
        self._wire.send(Call(verb="DELETE", path=f"/v1/tokens/{quote(token_id, safe='')}", idempotent=True))

    def projects(self) -> Iterator[ProjectOut]:
        """The projects you may see."""
        return self._wire.pages(ProjectOut, "/v1/projects")

    def create_project(self, name: str, *, title: str, purpose: str) -> ProjectOut:
        """Open a project of your own organisation."""
        return self._wire.post(ProjectOut, "/v1/projects", ProjectIn(name=name, title=title, purpose=purpose))

    def add_member(self, project_id: str, login: str) -> ProjectOut:
        """Add a member to a project, named by its id or its name."""
        return self._wire.post(ProjectOut, f"/v1/projects/{quote(project_id, safe='')}/members", MemberIn(login=login))

    def datasets(self) -> Iterator[DatasetOut]:
        """The datasets you may see."""
        return self._wire.pages(DatasetOut, "/v1/datasets")

    def register(self, description: str) -> Card:
        """Register a dataset from the text of its description (YAML)."""
        call = Call(
            verb="POST",
            path="/v1/datasets",
            text=description,
            headers={"Content-Type": "application/yaml"},
        )
        return self._wire.read(Card, self._wire.send(call))

    def upload(self, dataset: str, table: str, file: Path) -> UploadOut:
        """Send the raw file (CSV or Parquet) of one table, streamed; it waits for the next version."""
        try:
            with file.open("rb") as content:
                call = Call(
                    verb="PUT",
                    path=f"/v1/datasets/{segment(dataset)}/tables/{quote(table, safe='')}",
                    content=content,
                    headers={"Content-Type": "application/octet-stream"},
                    timeout=UPLOAD_TIMEOUT,
                )
                return self._wire.read(UploadOut, self._wire.send(call))
        except OSError as error:
            raise errors.SandboxError(
                say(
                    "The file {file} cannot be read ({why}).",
                    "无法读取文件 {file}（{why}）。",
                    file=file,
                    why=error.strerror,
                )
            ) from error

    def ingest(self, dataset: str) -> JobOut:
        """Make a new version of the files that were sent; follow it with `hub.job(id)`."""
        return self._wire.post(JobOut, f"/v1/datasets/{segment(dataset)}/versions")

    def report(self, dataset: str) -> ReportOut:
        """What the newest ingest found. Exact figures: for the steward's eyes only."""
        return self._wire.get(ReportOut, f"/v1/datasets/{segment(dataset)}/report")

    def request_access(
        self,
        *,
        project: str,
        dataset: str,
        purpose: str,
        epsilon: float | None = None,
        delta: float | None = None,
        expires: date | None = None,
        methods: tuple[Method, ...] = ("ask",),
        submit: bool = True,
    ) -> AccessRequestOut:
        """Ask for the use of a dataset in a project; without a budget, all that the policy allows one project."""
        if (epsilon is None) != (delta is None):
            raise errors.Malformed(
                say("A budget needs both epsilon and delta.", "预算需要同时给出 epsilon 和 delta。"),
                hint=say(
                    "Give both, or neither for all the policy allows.", "请同时给出，或都不给（即政策允许的全部）。"
                ),
            )
        budget = BudgetIn(epsilon=epsilon, delta=delta) if epsilon is not None and delta is not None else None
        body = AccessRequestIn(
            project=project,
            dataset=dataset,
            purpose=purpose,
            methods=list(methods),
            budget=budget,
            expires=expires,
            submit=submit,
        )
        return self._wire.post(AccessRequestOut, "/v1/access-requests", body)

    def requests(self, *, state: str | None = None) -> Iterator[AccessRequestOut]:
        """The access requests you may see, newest first."""
        found = self._wire.pages(AccessRequestOut, "/v1/access-requests")
        return (one for one in found if state is None or one.state == state)

    def request(self, request_id: str) -> AccessRequestOut:
        """One access request."""
        return self._wire.get(AccessRequestOut, f"/v1/access-requests/{quote(request_id, safe='')}")

    def review(self, request_id: str, *, vote: Vote, comment: str = "") -> AccessRequestOut:
        """Vote on an access request; the vote stays hidden from other reviewers until all that are needed are in."""
        body = ReviewIn(vote=vote, comment=comment)
        return self._wire.post(AccessRequestOut, f"/v1/access-requests/{quote(request_id, safe='')}:review", body)

    def decide(self, request_id: str, decision: Decision, comment: str = "") -> AccessRequestOut:
        """Vote to grant, refuse or return a request; withdraw or submit your own."""
        path = f"/v1/access-requests/{quote(request_id, safe='')}:{decision}"
        return self._wire.post(AccessRequestOut, path, CommentIn(comment=comment))

    def grants(self) -> Iterator[GrantOut]:
        """The grants you may see."""
        return self._wire.pages(GrantOut, "/v1/grants")

    def grant(self, grant_id: str) -> GrantOut:
        """One grant."""
        return self._wire.get(GrantOut, f"/v1/grants/{quote(grant_id, safe='')}")

    def change_grant(self, grant_id: str, verb: GrantVerb, comment: str = "") -> GrantOut:
        """Revoke a grant for good, suspend it, or resume a suspended one; it holds from the next use on."""
        return self._wire.post(GrantOut, f"/v1/grants/{quote(grant_id, safe='')}:{verb}", CommentIn(comment=comment))

    def accounts(self, *, dataset: str | None = None, project: str | None = None) -> Iterator[BudgetOut]:
        """The budget accounts you may see."""
        return self._wire.pages(BudgetOut, "/v1/accounts", dataset=dataset, project=project)

    def account_entries(self, account_id: str, *, limit: int | None = None) -> Iterator[LedgerEntryOut]:
        """The lines of one account."""
        path = f"/v1/accounts/{quote(account_id, safe='')}/entries"
        return self._wire.pages(LedgerEntryOut, path, limit=limit)

    def explain(
        self, action: str, *, dataset: str | None = None, project: str | None = None, request: str | None = None
    ) -> DecisionOut:
        """Whether something would be allowed, and every reason. Nothing happens."""
        asked = {"action": action, "dataset": dataset, "project": project, "request": request}
        try:
            body = ExplainIn.model_validate(asked)
        except ValidationError as error:
            raise errors.Malformed(
                say("There is no action “{action}” to explain.", "没有可解释的操作“{action}”。", action=action),
                hint=say("One of: {all}.", "可选：{all}。", all=", ".join(actions())),
            ) from error
        return self._wire.post(DecisionOut, "/v1/policy:explain", body)

    def log_key(self) -> LogKeyOut:
        """The public key this server signs with, as it says itself. Compare it with the published one before trusting it."""
        return self._wire.get(LogKeyOut, "/v1/log/key")

    def log_head(self) -> TreeHeadOut:
        """The newest signed tree head."""
        return self._wire.get(TreeHeadOut, "/v1/log/head")

    def log_entries(self, *, limit: int | None = None, after: str | None = None) -> Iterator[LogEntryOut]:
        """Entries of the audit log, as far as you may see them."""
        return self._wire.pages(LogEntryOut, "/v1/log/entries", limit=limit, after=after)
