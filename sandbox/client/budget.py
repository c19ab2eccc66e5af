"""What may still be spent: the accounts of a dataset, drawn as gauges.

Owns `Budget`, a read-only view on the accounts the server showed. It adds nothing up: losses are exact integers on the
server, and an epsilon here is only how people read them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from sandbox.client import show
from sandbox.say import say
from sandbox.wire import BudgetOut


class Budget:
    """The accounts that a question would be booked on. All of them must have room."""

    def __init__(self, accounts: tuple[BudgetOut, ...]) -> None:
        self.accounts = accounts

    def __iter__(self) -> Iterator[BudgetOut]:
        return iter(self.accounts)

    def __len__(self) -> int:
        return len(self.accounts)

    @property
    def share_left(self) -> float:
        """The part that is left of the account with the least room, between 0 and 1."""
        return min((show.share_left(account) for account in self.accounts), default=0.0)

    def __rich__(self) -> RenderableType:
        if not self.accounts:
            return Text(self._none())
        return Group(*self._lines())

    def _lines(self) -> list[Text]:
        """A gauge for each account, and below it what a numerical accountant would say."""
        pairs = [(show.gauge(account), show.spent_words(account)) for account in self.accounts]
        return [line for gauge, beside in pairs for line in (gauge, *([Text(beside, style="dim")] if beside else []))]

    def __repr__(self) -> str:
        return show.plain(*self._lines(), width=160) or self._none()

    def _repr_html_(self) -> str:
        gauges = [(show.html_gauge(account), show.spent_words(account)) for account in self.accounts]
        body = [
            line
            for gauge, beside in gauges
            for line in (gauge, *([show.paragraph(beside, dim=True)] if beside else []))
        ]
        body = body or [show.paragraph(self._none())]
        return show.card(show.tag("h3", say("Privacy budget", "隐私预算")), *body)

    @staticmethod
    def _none() -> str:
        return say("No account: nothing may be spent yet.", "没有账户：尚无可用预算。")
