"""Regular expressions of the accepted dialect: which patterns run, and how large they may be.

Owns one decision: a pattern is read here, whole, before anything is paid, because the engine would refuse a bad one only when
it runs. What is accepted is a part of RE2's syntax, which RE2 matches in time linear in the text (Cox 2007, "Regular Expression
Matching Can Be Simple And Fast"): no look-around, no back-references. `MAX_SIZE` bounds the pattern with its repeats written
out, so neither the compiled pattern nor the work per character can be made large. It never matches anything itself.
"""

from __future__ import annotations

import string

#: Characters of a pattern.
MAX_PATTERN = 200
#: Characters, classes and anchors of a pattern when every repeat is written out.
MAX_SIZE = 200
_SPECIAL = frozenset("\\.^$|?*+()[]{}")
_CLASSES = frozenset("dDsSwW")
_CONTROLS = frozenset("tnr")


class BadPattern(ValueError):
    """The pattern is not one that is accepted."""


def groups_of(pattern: str) -> int:
    """The number of groups that a pattern captures. Raises `BadPattern`."""
    if len(pattern) > MAX_PATTERN:
        raise BadPattern
    reader = _Reader(pattern)
    size = reader.choice()
    if reader.place < len(pattern) or size > MAX_SIZE:
        raise BadPattern
    return reader.groups


class _Reader:
    """Reads a pattern from left to right; each method returns the size of what it has read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.groups = 0

    def _at(self, wanted: str) -> bool:
        return self.text.startswith(wanted, self.place)

    def _take(self) -> str:
        if self.place >= len(self.text):
            raise BadPattern
        self.place += 1
        return self.text[self.place - 1]

    def choice(self) -> int:
        size = self._sequence()
        while self._at("|"):
            self.place += 1
            size += self._sequence()
        return size

    def _sequence(self) -> int:
        size = 1
        while self.place < len(self.text) and self.text[self.place] not in "|)":
            anchor, one = self._piece()
            times = self._times()
            if anchor and times != 1:
                raise BadPattern
            size += one * times
        return size

    def _piece(self) -> tuple[bool, int]:
        """One piece: whether it is an anchor (which cannot be repeated), and its size."""
        character = self._take()
        if character == "(":
            return False, self._group()
        if character == "[":
            return False, self._class()
        if character == "\\":
            escaped = self._take()
            self._require_escape(escaped, "bB")
            return escaped in "bB", 1
        if character in _SPECIAL and character not in ".^$":
            raise BadPattern
        return character in "^$", 1

    def _require_escape(self, character: str, more: str = "") -> None:
        if character not in _CLASSES | _CONTROLS | frozenset(string.punctuation + more):
            raise BadPattern

    def _group(self) -> int:
        if self._at("?:"):
            self.place += 2
        else:
            self.groups += 1
        size = self.choice()
        self._take()  # a bracket, unless the pattern has ended: a choice reads on to either
        return size

    def _class(self) -> int:
        if self._at("^"):
            self.place += 1
        size = 0
        while not self._at("]"):
            first = self._member(dash=not size or self._at("-]"))
            size += 1
            if self._at("-") and not self.text.startswith("-]", self.place):
                self.place += 1
                last = self._member(dash=False)
                if len(first) != 1 or len(last) != 1 or first > last:
                    raise BadPattern
        self.place += 1
        if not size:
            raise BadPattern
        return size

    def _member(self, *, dash: bool) -> str:
        """A character of a class; a class within it, such as a digit, with its backslash. A dash may open or close one."""
        character = self._take()
        if character == "\\":
            character = self._take()
            self._require_escape(character)
            return character if character in string.punctuation else "\\" + character
        if character in "[]^&~" or (character == "-" and not dash):
            raise BadPattern
        return character

    def _times(self) -> int:
        """How often the piece before is written out."""
        times = 1
        if self._at("{"):
            times = self._counted()
        elif self.place < len(self.text) and self.text[self.place] in "*+?":
            times = 2
            self.place += 1
        if times != 1 and self._at("?"):
            self.place += 1  # as few as possible
        return times

    def _counted(self) -> int:
        end = self.text.find("}", self.place)
        low, comma, high = self.text[self.place + 1 : end].partition(",")
        self.place = end + 1
        ends = [low, high] if high else [low]
        if end < 0 or any(not e.isdecimal() or not e.isascii() or len(e) > 3 for e in ends) or int(low) > int(ends[-1]):
            raise BadPattern
        return max(2, int(ends[-1]) + (1 if comma and not high else 0))
