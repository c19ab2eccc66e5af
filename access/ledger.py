"""The ledger: accounts of privacy loss, money set aside, and the lines that say where it went.

Owns the arithmetic and the refusal; the store turns `reserved`, `settled` and `voided` into conditional UPDATEs with the
same conditions. It never checks and then acts (law 1): room is tested in the statement that takes it. A loss books on two
accounts, the project's and the dataset's in total; both have room or neither is touched.

    RESERVED ──> SETTLED      data may have been read: spent for good
        └──────> VOIDED       nothing was read: given back

An account is a privacy filter (see `privacy.loss`): its limit never changes by spending, its sums only by whole losses. It
outlives every grant: a new grant may move the limit, never what was spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from types import MappingProxyType

from privacy.errors import Conflict, NotFound, Refused, Text
from privacy.loss import Budget, Loss, epsilon_of, gaussian_epsilon

NOTHING = Loss()


class ReservationState(StrEnum):
    """Where money that was set aside stands."""

    RESERVED = "reserved"
    SETTLED = "settled"
    VOIDED = "voided"


class ReservationOwner(StrEnum):
    """Whose move it is: the ledger's own machinery, never a person's."""

    SYSTEM = "system"


RESERVATION_MOVES: Mapping[ReservationState, frozenset[ReservationState]] = MappingProxyType(
    {
        ReservationState.RESERVED: frozenset({ReservationState.SETTLED, ReservationState.VOIDED}),
        ReservationState.SETTLED: frozenset(),
        ReservationState.VOIDED: frozenset(),
    }
)

RESERVATION_OWNERS: Mapping[ReservationState, ReservationOwner] = MappingProxyType(
    dict.fromkeys(ReservationState, ReservationOwner.SYSTEM)
)


class LineKind(StrEnum):
    """What one line of an account records."""

    OPENED = "opened"
    LIMIT_SET = "limit_set"
    RESERVED = "reserved"
    SETTLED = "settled"
    VOIDED = "voided"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Where losses on one dataset are booked: for one project, or in total (`project` None).

    Invariant, kept by CHECK constraints: reserved + spent <= limit, in rho and in delta. `budget` is the limit as the
    people who set it wrote it.
    """

    id: str
    dataset: str
    project: str | None
    budget: Budget
    limit: Loss
    reserved: Loss = NOTHING
    spent: Loss = NOTHING

    @property
    def remaining(self) -> Loss:
        """What can still be set aside."""
        return self.limit - (self.reserved + self.spent)

    def epsilon(self, loss: Loss) -> float:
        """A loss as people see it: epsilon at this account's delta, rounded up.

        Half of the account's delta converts rho (the other half is the limit for the losses' own deltas), so spending
        the whole limit shows exactly the budget that was set.
        """
        return epsilon_of(float(loss.rho_fraction), self.budget.delta / 2)

    def gaussian_epsilon(self, loss: Loss) -> float:
        """What a numerical accountant would say of Gaussian noise of this loss, at the same delta. Information only."""
        return gaussian_epsilon(float(loss.rho_fraction), self.budget.delta / 2)


def opened(*, account: str, dataset: str, project: str | None, budget: Budget) -> Account:
    """A new, empty account of that id."""
    return Account(id=account, dataset=dataset, project=project, budget=budget, limit=budget.limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """A loss set aside on two accounts for one job."""

    id: str
    job: str
    dataset: str
    project: str
    loss: Loss
    created_at: datetime
    state: ReservationState = ReservationState.RESERVED
    closed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One line of an account, never changed: what moved, and the sums afterwards."""

    account: str
    kind: LineKind
    reservation: str | None
    job: str | None
    loss: Loss
    reserved: Loss
    spent: Loss
    at: datetime


class BudgetExhausted(Refused):
    """An account has no room for the loss. Both sides of the comparison are public to the project."""

    code = "ledger.exhausted"
    sentence = Text(
        "The question costs ε = {requested}; the {scope} has ε = {remaining} left at δ = {delta}: {difference} too little.",
        "本次提问需要 ε = {requested}；{scope}在 δ = {delta} 下仅剩 ε = {remaining}，差 {difference}。",
    )
    hint = Text(
        "Ask with a smaller epsilon, or ask {contact} for more budget. Questions you already asked cost nothing again.",
        "可降低 epsilon 后再提问，或联系 {contact} 增加预算。重复已问过的问题不再消耗预算。",
    )


class DeltaExhausted(BudgetExhausted):
    """Selecting private keys costs delta, and the account has too little of it left."""

    code = "ledger.delta_exhausted"
    sentence = Text(
        "Selecting private keys costs δ = {requested_delta}; the {scope} has δ = {remaining_delta} left for it.",
        "选取私有键需要 δ = {requested_delta}；{scope}可用于此的 δ 仅剩 {remaining_delta}。",
    )
    hint = Text(
        "Group by public keys, which cost no delta, ask with a smaller delta, or ask {contact}.",
        "可改为按公开键分组（不消耗 δ）、降低 delta，或联系 {contact}。",
    )


class AccountNotFound(NotFound):
    """No such account, or it is hidden; without one nothing can be spent."""

    code = "ledger.account_not_found"
    sentence = Text("There is no account {account}.", "没有账户 {account}。")
    hint = Text("An account is opened when a grant is made. List your accounts.", "账户在授权时开立，请列出您的账户。")


class AlreadyClosed(Conflict):
    """The reservation was settled or voided before."""

    code = "ledger.closed"
    sentence = Text("The reservation {reservation} is {state} already.", "预留 {reservation} 已处于 {state} 状态。")
    hint = Text("A closed reservation never changes.", "已关闭的预留不会再改变。")


_SCOPES = {
    True: Text("dataset's total budget", "数据集总预算"),
    False: Text("project's budget", "项目预算"),
}


def shown(value: float | Decimal, rounding: str) -> str:
    """A number with five significant digits, rounded in the stated direction."""
    exact = Decimal(value)
    if not exact:
        return "0"
    place = Decimal(1).scaleb(exact.adjusted() - 4)
    rounded = exact.quantize(place, rounding=rounding).normalize()
    return f"{rounded:f}" if -7 < rounded.adjusted() < 16 else str(rounded)


def refusal(account: Account, loss: Loss, contact: str) -> BudgetExhausted:
    """The problem to raise when the account has no room: requested, remaining, difference, and whom to ask.

    Requested and difference are rounded up, remaining down: what is shown as enough is enough.
    """
    left = account.remaining
    requested, remaining = account.epsilon(loss), account.epsilon(left)
    kind = BudgetExhausted if loss.rho > left.rho else DeltaExhausted
    return kind(
        requested=shown(requested, ROUND_CEILING),
        remaining=shown(remaining, ROUND_FLOOR),
        difference=shown(max(0.0, requested - remaining), ROUND_CEILING),
        delta=f"{account.budget.delta:g}",
        requested_delta=shown(Decimal(loss.delta).scaleb(-15), ROUND_CEILING),
        remaining_delta=shown(Decimal(left.delta).scaleb(-15), ROUND_FLOOR),
        scope=_SCOPES[account.project is None],
        account=account.id,
        contact=contact,
    )


def has_room(account: Account, loss: Loss) -> bool:
    """The condition of the one UPDATE that reserves: room in rho and in delta."""
    return (account.reserved + account.spent + loss).within(account.limit)


def reserved(account: Account, loss: Loss) -> Account:
    """The account with the loss set aside; the caller has tested `has_room` in the same step."""
    return replace(account, reserved=account.reserved + loss)


def settled(account: Account, loss: Loss) -> Account:
    """What was set aside is spent."""
    return replace(account, reserved=account.reserved - loss, spent=account.spent + loss)


def voided(account: Account, loss: Loss) -> Account:
    """What was set aside is given back."""
    return replace(account, reserved=account.reserved - loss)


def with_limit(account: Account, budget: Budget) -> Account:
    """The account under a new budget; the limit never falls below what is spent and set aside already."""
    used = account.reserved + account.spent
    limit = Loss(max(budget.limit.rho, used.rho), max(budget.limit.delta, used.delta))
    return replace(account, budget=budget, limit=limit)


def require_open(reservation: Reservation) -> Reservation:
    """The reservation, or `AlreadyClosed`."""
    if not RESERVATION_MOVES[reservation.state]:
        raise AlreadyClosed(reservation=reservation.id, state=reservation.state.value)
    return reservation


def closed(reservation: Reservation, to: ReservationState, now: datetime) -> Reservation:
    """The reservation in its final state."""
    require_open(reservation)
    return replace(reservation, state=to, closed_at=now)
