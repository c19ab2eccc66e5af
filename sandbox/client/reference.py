"""The command reference in docs/cli.md and docs/cli.zh-CN.md, written from the commands themselves.

Owns the part of both files below the mark; what stands above it is written by hand. `python -m sandbox.client.reference`
rewrites both, and a test fails when they are not current.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from sandbox import cli
from sandbox.client.terminal import Verb, Word
from sandbox.say import say, speaking

MARK = "<!-- Written by `python -m sandbox.client.reference`; do not edit below. -->"
FILES = {"en": "cli.md", "zh-CN": "cli.zh-CN.md"}


def words_of(verb: Verb) -> dict[str, Word]:
    """The parameters of a command, by name, in the order of the function."""
    hints = get_type_hints(verb.run, include_extras=True)
    names = list(inspect.signature(verb.run).parameters)[1:]
    return {name: get_args(hints[name])[1] for name in names}


def synopsis(verb: Verb) -> str:
    """The command as it is typed, arguments in capitals, those with a default in brackets."""
    parts = ["sandbox", verb.path]
    for name, parameter in list(inspect.signature(verb.run).parameters.items())[1:]:
        if not words_of(verb)[name].flags:
            many = get_origin(get_args(get_type_hints(verb.run, include_extras=True)[name])[0]) is list
            shown = name.upper() + ("..." if many else "")
            parts.append(shown if parameter.default is inspect.Parameter.empty else f"[{shown}]")
    return " ".join(parts)


def section(verb: Verb) -> str:
    """One command: synopsis, what it does, its parameters."""
    lines = [f"### `{synopsis(verb)}`", "", say(verb.en, verb.zh), ""]
    for name, word in words_of(verb).items():
        shown = ", ".join(f"`{flag}`" for flag in word.flags) or f"`{name.upper()}`"
        lines.append(f"- {shown}: {say(word.en, word.zh)}")
    return "\n".join(lines).rstrip() + "\n"


def reference(lang: str) -> str:
    """The whole generated part, in one language."""
    with speaking(lang):
        return f"{MARK}\n\n" + "\n".join(section(verb) for verb in cli.VERBS)


def written(text: str, lang: str) -> str:
    """A documentation file with its generated part made anew."""
    return text.partition(MARK)[0] + reference(lang)


def main(docs: Path = Path("docs")) -> None:
    """Rewrite both files."""
    for lang, name in FILES.items():
        file = docs / name
        file.write_text(written(file.read_text(encoding="utf-8"), lang), encoding="utf-8")


if __name__ == "__main__":
    main()
