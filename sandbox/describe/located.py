"""YAML text turned into a plain tree of mappings, lists and strings, with the place of every value remembered.

Owns reading only: size, depth, anchors, tags and duplicate keys are judged here, meaning is judged by the caller. Every
scalar stays the text that was written (`01` is not 1, `no` is not false); only an unquoted `null`, `~` or nothing is None.
The text is hostile until proven otherwise: it is read event by event, without recursion, and nothing is ever constructed
from a tag (law 10).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from privacy.errors import Text, TooLarge

Path = tuple[str | int, ...]
Tree = dict[str, "Tree"] | list["Tree"] | str | None

LARGEST_TEXT = 1_000_000
DEEPEST = 16
CONFIRM = "!confirm"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something is written; both numbers count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Flaw:
    """One thing that is wrong with a text: where it stands, which field it is, and the sentence in both languages."""

    place: Place
    path: Path
    sentence: Text

    @property
    def name(self) -> str:
        """The field as a dotted path, harmless to show."""
        return shown(".".join(str(part) for part in self.path), 200)

    def words(self, lang: str) -> str:
        """The sentence, harmless to show: it may quote what was written."""
        return shown(self.sentence.words(lang), 600)

    def say(self, lang: str, filename: str) -> str:
        """`file:line:column: field: sentence`, a form editors can jump to."""
        name = self.name
        return f"{filename}:{self.place.line}:{self.place.column}: {name}{': ' if name else ''}{self.words(lang)}"


def shown(text: str, longest: int) -> str:
    """A hostile text made fit for a terminal: cut, and with what cannot be printed written as an escape."""
    cut = text if len(text) <= longest else text[:longest] + "…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """A tree, the place of each key and of each value, and what was wrong with the text itself.

    `whole` is False when reading stopped before the end.
    """

    tree: Tree
    keys: Mapping[Path, Place]
    values: Mapping[Path, Place]
    flaws: tuple[Flaw, ...]
    whole: bool = True

    def place(self, path: Path, *, key: bool = False) -> Place:
        """The place of that value (or of its key); for what is not written, the key of what it should stand in."""
        exact = self.values.get(path) if not key else None
        around = (self.keys.get(path[:length]) for length in range(len(path), 0, -1))
        return exact or next(filter(None, around), None) or self.values.get(()) or Place()


class TextTooLarge(TooLarge):
    """The text is longer than a description may be."""

    code = "description.too_large"
    sentence = Text(
        "{file} has {size:,} bytes; a description has at most {limit:,}.",
        "{file} 有 {size:,} 字节；数据集描述最多 {limit:,} 字节。",
    )
    hint = Text(
        "Keep long lists of keys in a public table and join it, or let the column have private keys.",
        "较长的键值清单请放入公开表后关联使用，或将该列设为私有键（keys: private）。",
    )


def read(text: str, filename: str = "dataset.yaml") -> Located:
    """Read one YAML document. Never raises for what is written in it, except `TextTooLarge`; flaws are returned."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST_TEXT:
        raise TextTooLarge(file=filename, size=size, limit=LARGEST_TEXT)
    builder, whole = _Builder(), True
    try:
        whole = all(builder.take(event) for event in yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        builder.flaws.append(_unreadable(error))
        whole = False
    return Located(tree=builder.tree, keys=builder.keys, values=builder.values, flaws=tuple(builder.flaws), whole=whole)


def _unreadable(error: yaml.YAMLError) -> Flaw:
    mark = getattr(error, "problem_mark", None)
    place = Place(line=mark.line + 1, column=mark.column + 1) if mark else Place()
    said = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", None) or "?").split())[:120]
    return Flaw(
        place=place,
        path=(),
        sentence=Text(
            f"this is not readable YAML ({said}). Look for a tab, a missing `: `, an unclosed quote or bracket "
            "near this place.",
            f"此处不是可读的 YAML（{said}）。请检查附近是否有制表符、缺少“: ”、未闭合的引号或括号。",
        ),
    )


@dataclass
class _Open:
    """A mapping or list that is being filled."""

    node: dict[str, Tree] | list[Tree]
    path: Path
    key: str | None = None
    awaits_key: bool = True
    duplicate: bool = False


@dataclass
class _Builder:
    """Takes parser events one by one; `take` returns False when going on would make no sense."""

    tree: Tree = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    documents: int = 0

    def take(self, event: yaml.Event) -> bool:
        mark = event.start_mark
        place = Place(line=mark.line + 1, column=mark.column + 1) if mark else Place()
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            return self.documents == 1 or self._stop(place, ONE_DOCUMENT)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            return self._stop(place, NO_ANCHORS)
        if isinstance(event, yaml.NodeEvent):
            return self._node(event, place)
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.stack.pop()
        return True

    def _node(self, event: yaml.NodeEvent, place: Place) -> bool:
        parent = self.stack[-1] if self.stack else None
        if parent and isinstance(parent.node, dict) and parent.awaits_key:
            return self._key(parent, event, place)
        path = self._path(parent)
        self._tag(event, place, path)
        if isinstance(event, yaml.ScalarEvent):
            self._put(parent, path, place, _scalar(event))
            return True
        if len(self.stack) >= DEEPEST:
            return self._stop(place, TOO_DEEP)
        node: dict[str, Tree] | list[Tree] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._put(parent, path, place, node)
        self.stack.append(_Open(node=node, path=path))
        return True

    def _key(self, parent: _Open, event: yaml.NodeEvent, place: Place) -> bool:
        if not isinstance(event, yaml.ScalarEvent) or _scalar(event) is None:
            return self._stop(place, SIMPLE_KEYS)
        key = str(event.value)
        parent.key, parent.awaits_key = key, False
        parent.duplicate = key in parent.node
        self._tag(event, place, (*parent.path, key))
        if parent.duplicate:
            first = self.keys[(*parent.path, key)]
            self.flaws.append(Flaw(place=place, path=(*parent.path, key), sentence=_written_twice(first)))
        else:
            self.keys[(*parent.path, key)] = place
        return True

    def _path(self, parent: _Open | None) -> Path:
        if parent is None:
            return ()
        return (*parent.path, len(parent.node) if isinstance(parent.node, list) else parent.key or "")

    def _put(self, parent: _Open | None, path: Path, place: Place, value: Tree) -> None:
        if parent is None:
            self.tree = value
        elif isinstance(parent.node, list):
            parent.node.append(value)
        else:
            parent.awaits_key = True
            if parent.duplicate:
                return
            parent.node[parent.key or ""] = value
        self.values[path] = place

    def _tag(self, event: yaml.NodeEvent, place: Place, path: Path) -> None:
        tag = getattr(event, "tag", None)
        if tag == CONFIRM:
            self.flaws.append(Flaw(place=place, path=path, sentence=UNCONFIRMED))
        elif tag and tag != "!":
            self.flaws.append(Flaw(place=place, path=path, sentence=NO_TAGS))

    def _stop(self, place: Place, sentence: Text) -> bool:
        self.flaws.append(Flaw(place=place, path=(), sentence=sentence))
        return False


def _scalar(event: yaml.ScalarEvent) -> str | None:
    plain = event.implicit[0] and event.style in (None, "")
    return None if plain and event.value in _NULLS else str(event.value)


def _written_twice(first: Place) -> Text:
    return Text(
        f"written twice; the first is in line {first.line}. Keep one.",
        f"重复书写，第一次在第 {first.line} 行。请只保留一处。",
    )


def marks(text: str) -> Iterator[int]:
    """The lines (from 1) that still carry a mark to be confirmed by the steward."""
    return (f.place.line for f in read(text).flaws if f.sentence is UNCONFIRMED)


UNCONFIRMED = Text(
    "this value was read from the data. Check that it may be public, correct it if needed, then delete `!confirm`.",
    "该值读取自数据。请确认可以公开，必要时修改，然后删除 `!confirm` 标记。",
)
NO_TAGS = Text("YAML tags are not used here; delete the tag.", "此处不使用 YAML 标签，请删除该标签。")
NO_ANCHORS = Text(
    "YAML anchors and aliases (`&`, `*`) are not used here; write the value out. Quote a text that begins with & or *.",
    "此处不使用 YAML 锚点与别名（`&`、`*`），请直接写出内容；以 & 或 * 开头的文本请加引号。",
)
ONE_DOCUMENT = Text(
    "one file describes one dataset; delete the second `---` part.",
    "一个文件只描述一个数据集，请删除第二个 `---` 之后的部分。",
)
TOO_DEEP = Text(f"nested more than {DEEPEST} levels deep.", f"嵌套超过 {DEEPEST} 层。")
SIMPLE_KEYS = Text("a key must be a single non-empty word or text.", "键必须是一个非空的词或文本。")
