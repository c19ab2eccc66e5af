"""The error tree of the whole house, and the two-language sentence every error is made of.

Owns `Text` (one sentence in English and Chinese) and `Problem` with its kinds. A room declares its own problems as
subclasses of a kind; only the HTTP edge turns a kind into a status, and only the client turns it back. It never does
I/O and knows no framework. Law 13: an error is written for the person (`code`, sentence, hint); what depends on
confidential values goes to `private`, which no asker ever sees (law 5).

    Problem
    ├── Malformed         what was sent cannot be read
    ├── Unauthenticated   nobody known is asking
    ├── Refused           understood, and a rule says no
    ├── NotFound          it does not exist, or it is hidden from you
    ├── Conflict          it clashes with what already happened
    ├── TooLarge          a stated size limit is passed
    ├── Unavailable       try again later
    └── Fault             ours; one constant sentence for the asker, everything for the operator
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

LANGUAGES = ("zh-CN", "en")


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence in both languages; `{name}` placeholders are filled by `say`."""

    en: str
    zh: str

    def say(self, lang: str = "en", **params: object) -> str:
        """Return the sentence in `lang`, placeholders filled; a `Text` among the parameters is words, not a template."""
        filled = {k: v.words(lang) if isinstance(v, Text) else v for k, v in params.items()}
        return self.words(lang).format(**filled)

    def words(self, lang: str) -> str:
        """The text in `lang` as it stands (anything that begins with "zh" is Chinese)."""
        return self.zh if lang.lower().startswith("zh") else self.en


class Problem(Exception):
    """Base of every expected error: a stable `code`, a sentence, a hint, parameters that are safe to show.

    `private` is for the owner of the data and the operator only. A subclass that sets `code` is a concrete problem and
    is listed by `problem_codes`; its `sentence` and `hint` may name the keyword parameters given to the constructor.
    """

    code: ClassVar[str] = ""
    sentence: ClassVar[Text] = Text("", "")
    hint: ClassVar[Text] = Text("", "")

    def __init__(self, *, private: str = "", **params: object) -> None:
        self.params = params
        self.private = private
        super().__init__(self.say("en"))

    def say(self, lang: str) -> str:
        """The sentence: what was wrong."""
        return self.sentence.say(lang, **self.params)

    def advise(self, lang: str) -> str:
        """The hint: what is allowed, what to do next, whom to ask."""
        return self.hint.say(lang, **self.params)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.params, self.private)


def _rebuild(kind: type[Problem], params: dict[str, object], private: str) -> Problem:
    return kind(private=private, **params)


class Malformed(Problem):
    """What was sent cannot be read."""


class Unauthenticated(Problem):
    """Nobody known is asking."""


class Refused(Problem):
    """Understood, and a rule says no."""


class NotFound(Problem):
    """It does not exist, or it is hidden from the asker: the two look the same."""


class Conflict(Problem):
    """It clashes with something that already happened."""


class TooLarge(Problem):
    """A stated size limit is passed."""


class Unavailable(Problem):
    """Nothing is wrong with the request; try again later."""


class Fault(Problem):
    """Our failure, or one that may depend on confidential values: a constant sentence for the asker."""

    code = "fault"
    sentence = Text("The work could not be completed.", "该任务未能完成。")
    hint = Text(
        "Nothing you can change is known to help. Give the operator the reference of this request.",
        "目前没有已知可由您调整的地方，请将本次请求的编号提供给运营方。",
    )


def problem_codes() -> dict[str, type[Problem]]:
    """Every concrete problem that is loaded, by code, sorted."""
    found: dict[str, type[Problem]] = {}
    queue: list[type[Problem]] = [Problem]
    while queue:
        kind = queue.pop()
        queue.extend(kind.__subclasses__())
        if kind.code:
            found[kind.code] = kind
    return dict(sorted(found.items()))
