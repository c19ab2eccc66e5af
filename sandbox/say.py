"""Which language a person reads, and one sentence in it.

Owns the choice between English and Chinese on the client side: an explicit choice (`--lang`), else `SANDBOX_LANG`, else
the locale of the system (`LC_ALL`, `LC_MESSAGES`, `LANG`). It imports nothing of the house, so that the client, the
command line and the demo may all use it; server code uses `privacy.errors.Text` and the request's Accept-Language.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

LANGUAGES = ("en", "zh-CN")
"""The languages every sentence exists in, as they are named in `Accept-Language`."""

_chosen: ContextVar[str | None] = ContextVar("sandbox_language", default=None)


def normal(name: str) -> str:
    """The language of a locale name: anything that begins with "zh" is Chinese, everything else English."""
    return "zh-CN" if name.strip().lower().startswith("zh") else "en"


def language(environ: Mapping[str, str] = os.environ) -> str:
    """The language to speak now: "en" or "zh-CN"."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    names = (environ.get(key, "") for key in ("SANDBOX_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))
    return normal(next((name for name in names if name.strip()), "en"))


def choose(name: str) -> None:
    """Speak this language from here on, in this thread or task."""
    _chosen.set(normal(name))


@contextmanager
def speaking(name: str | None) -> Iterator[None]:
    """Speak this language within the block; None changes nothing."""
    token = _chosen.set(normal(name) if name else _chosen.get())
    try:
        yield
    finally:
        _chosen.reset(token)


def say(en: str, zh: str, /, **params: object) -> str:
    """The sentence in the language of now; `{name}` placeholders are filled with the keyword arguments."""
    sentence = zh if language() == "zh-CN" else en
    return sentence.format(**params) if params else sentence
