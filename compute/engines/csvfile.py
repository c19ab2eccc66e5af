"""A steward's CSV file, made harmless before the engine parses it: encoding, header, line ends, quotes.

Owns `examine` (encoding, delimiter, column names) and `normalise`, which writes a copy in one form: UTF-8, no header, no
blank lines, line feeds for line ends. The record count of the copy is the row number people are told. It streams in chunks
and knows neither types nor units. Broken rows never stop it: a row with bytes that are no text keeps one byte that no UTF-8
reader accepts, so that the engine rejects exactly that row; a quote that does not close its row within
`LONGEST_RECORD` lines, or closes it in the wrong place, costs its own row and no other.
"""

from __future__ import annotations

import codecs
import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from compute.engines.problems import EncodingUnknown, FileUnreadable
from privacy.errors import Text

CHUNK = 4 * 1024 * 1024
#: A quoted field may span this many lines.
LONGEST_RECORD = 100
LONGEST_LINE = 1024 * 1024
LONGEST_HEADER = 1024 * 1024
MOST_COLUMNS = 4096
DELIMITERS = (",", "\t", ";", "|")
_BOM = codecs.BOM_UTF8
_BAD_BYTE = b"\xff"
_REPLACED = "\ufffd".encode()
_NOT_CSV = {
    b"PK\x03\x04": Text("it is a zip archive or a spreadsheet", "它是压缩包或电子表格"),
    b"\x1f\x8b": Text("it is compressed", "它是压缩文件"),
    b"\x28\xb5\x2f\xfd": Text("it is compressed", "它是压缩文件"),
    b"\xd0\xcf\x11\xe0": Text("it is a spreadsheet", "它是电子表格"),
    b"\xff\xfe": Text("it is UTF-16 text", "它是 UTF-16 文本"),
    b"\xfe\xff": Text("it is UTF-16 text", "它是 UTF-16 文本"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvForm:
    """How a CSV file is written. `damaged` is True when some bytes are not text in the encoding."""

    encoding: str
    delimiter: str
    names: tuple[str, ...]
    damaged: bool = False


@dataclass(kw_only=True)
class CsvRecords:
    """What `normalise` met: how many records, and the numbers (from 1) of those left out for a quote never closed."""

    records: int = 0
    unclosed: array[int] = field(default_factory=lambda: array("Q"))


def examine(source: Path, table: str, wanted: Sequence[str]) -> CsvForm:
    """Detect encoding, delimiter and column names.

    The delimiter is the one under which most `wanted` names appear, and among equals the one that makes most columns.
    """
    with source.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    for magic, why in _NOT_CSV.items():
        if start.startswith(magic):
            raise FileUnreadable(table=table, why=why)
    if not start.removeprefix(_BOM).strip():
        raise FileUnreadable(table=table, why=Text("it is empty", "文件为空"))
    if b"\x00" in start:
        raise FileUnreadable(table=table, why=Text("it is not text", "它不是文本"))
    encoding, damaged = detect_encoding(source, table)
    header = _first_record(start.decode(encoding, errors="replace"))
    if header is None:
        raise FileUnreadable(table=table, why=Text("its first line is too long", "首行过长"))
    folded = {fold(name) for name in wanted}
    parsed = {mark: _split(header, mark) for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda m: (len(folded & {fold(name) for name in parsed[m]}), len(parsed[m])))
    if len(parsed[delimiter]) > MOST_COLUMNS:
        raise FileUnreadable(table=table, why=Text("it has too many columns", "列数过多"))
    return CsvForm(encoding=encoding, delimiter=delimiter, names=tuple(parsed[delimiter]), damaged=damaged)


def fold(name: str) -> str:
    """Names are compared without surrounding spaces and without case."""
    return name.strip().casefold()


def _split(header: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([header], delimiter=delimiter, strict=False), [])]
    except csv.Error:
        return []


def _first_record(text: str) -> str | None:
    """The header without its line end, None when it does not end within the text read."""
    lines = re.split(r"\r\n|\n|\r", text.lstrip("\r\n"))
    record, inside = "", False
    for number, line in enumerate(lines[:LONGEST_RECORD]):
        record = f"{record}\n{line}" if number else line
        inside = ends_inside(line.encode(errors="replace"), inside=inside, delimiter=b",")
        if not inside:
            return record if number + 1 < len(lines) or len(text) < LONGEST_HEADER // 4 else None
    return lines[0]


# --- encoding ------------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Fit:
    """How well an encoding explains a file: characters, those beyond ASCII, bytes that fail."""

    characters: int = 0
    good: int = 0
    bad: int = 0
    bom: bool = False


def detect_encoding(source: Path, table: str) -> tuple[str, bool]:
    """The encoding's name, and whether some rows hold bytes that are not text in it.

    Chinese text in GB18030 almost never forms valid UTF-8, so what decodes beyond ASCII against what does not decides; a
    file with a few bad places among good ones is that encoding with broken rows. What neither explains is refused.
    """
    utf8 = _fit(source, "utf-8")
    name = "utf-8-sig" if utf8.bom else "utf-8"
    if utf8.bom or utf8.bad * 10 <= utf8.good:
        return name, utf8.bad > 0
    chinese = _fit(source, "gb18030")
    if chinese.bad * 10 <= chinese.good:
        return "gb18030", chinese.bad > 0
    if utf8.bad <= max(2, utf8.characters // 100):
        return name, True
    raise EncodingUnknown(table=table)


def _fit(source: Path, encoding: str) -> _Fit:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    fit = _Fit()
    with source.open("rb") as file:
        fit.bom = file.read(len(_BOM)) == _BOM
        file.seek(len(_BOM) if fit.bom else 0)
        while True:
            chunk = file.read(CHUNK)
            text = decoder.decode(chunk, final=not chunk)
            fit.characters += len(text)
            if not text.isascii():
                wrong = text.count("\ufffd")
                fit.bad += wrong
                fit.good += len(text) - len(text.encode("ascii", "ignore")) - wrong
            if not chunk:
                return fit


# --- one form ------------------------------------------------------------------------------------------------------------


def normalise(source: Path, target: Path, form: CsvForm) -> CsvRecords:
    """Write the records of `source` to `target` in the one form, header left out."""
    writer = _Writer(delimiter=form.delimiter.encode(), columns=len(form.names))
    with source.open("rb") as file, target.open("wb") as out:
        for lines in _line_blocks(_chunks(file, form)):
            out.write(writer.take(lines))
        out.write(writer.finish())
    return writer.found


def _chunks(file: BinaryIO, form: CsvForm) -> Iterator[bytes]:
    """UTF-8 bytes with line feeds for line ends; a place that did not decode is one byte that is never valid UTF-8."""
    decoder = codecs.getincrementaldecoder(form.encoding)(errors="replace")
    held = ""
    while True:
        chunk = file.read(CHUNK)
        text = held + decoder.decode(chunk, final=not chunk)
        held = "\r" if chunk and text.endswith("\r") else ""
        text = text[: len(text) - len(held)]
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        encoded = text.encode()
        yield encoded.replace(_REPLACED, _BAD_BYTE) if form.damaged else encoded
        if not chunk:
            return


def _line_blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines. A line that spans chunks is cut to a stump which is still longer than a line may be."""
    rest = b""
    for chunk in chunks:
        block = rest + chunk
        end = block.rfind(b"\n") + 1
        if end:
            yield block[:end]
        rest = block[end:]
        if len(rest) > LONGEST_LINE:
            rest = rest[: LONGEST_LINE + 1]
    if rest:
        yield rest + b"\n"


@dataclass
class _Writer:
    """Turns blocks of lines into blocks of records, counting; the first record, the header, is left out."""

    delimiter: bytes
    columns: int
    found: CsvRecords = field(default_factory=CsvRecords)
    pending: list[bytes] = field(default_factory=list)
    header_seen: bool = False

    def take(self, block: bytes) -> bytes:
        quiet = self.header_seen and not self.pending
        if quiet and b'"' not in block:
            return self._plain(block)
        lines = block.splitlines(keepends=True)
        if quiet and not any(line.count(b'"') & 1 for line in lines):
            return self._plain(block)
        out: list[bytes] = []
        for line in lines:
            self._line(line, out)
        return b"".join(out)

    def _plain(self, block: bytes) -> bytes:
        """The quick way for a block in which every quote that opens in a line closes in it."""
        while b"\n\n" in block:
            block = block.replace(b"\n\n", b"\n")
        block = block.removeprefix(b"\n")
        self.found.records += block.count(b"\n")
        return block

    def _line(self, line: bytes, out: list[bytes]) -> None:
        if not self.pending:
            if line == b"\n":
                return
            if line.count(b'"') % 2 == 0 or not ends_inside(line, inside=False, delimiter=self.delimiter):
                self._record(line, out)
                return
            self.pending.append(line)
            return
        self.pending.append(line)
        if b'"' in line and not ends_inside(line, inside=True, delimiter=self.delimiter):
            self._close(out)
        elif len(self.pending) > LONGEST_RECORD:
            self._give_up(out)

    def _close(self, out: list[bytes]) -> None:
        """Several lines are one record only if it has the right fields, cleanly closed; else its first quote is a stray one."""
        record = b"".join(self.pending)
        met = walk(record, inside=False, delimiter=self.delimiter)
        if self.header_seen and (met.stray or met.delimiters + 1 != self.columns):
            self._give_up(out)
        else:
            self.pending = []
            self._record(record, out)

    def _record(self, record: bytes, out: list[bytes]) -> None:
        if not self.header_seen:
            self.header_seen = True
            return
        self.found.records += 1
        out.append(record)

    def _give_up(self, out: list[bytes]) -> None:
        """The quote in the first pending line is never closed: leave that line out and read the others again."""
        _, *others = self.pending
        self.pending = []
        if self.header_seen:
            self.found.records += 1
            self.found.unclosed.append(self.found.records)
        self.header_seen = True
        for line in others:
            self._line(line, out)

    def finish(self) -> bytes:
        """What is left at the end of the file."""
        out: list[bytes] = []
        while self.pending:
            self._give_up(out)
        return b"".join(out)


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk along a text met: delimiters outside quotes, whether it ends in quotes, whether a quote closed midfield."""

    delimiters: int
    inside: bool
    stray: bool


def walk(text: bytes, *, inside: bool, delimiter: bytes) -> Walk:
    """Walk along a text that begins within a quoted field, or not."""
    at, passed, stray = 0, 0, False
    if not inside and text.startswith(b'"'):
        inside, at = True, 1
    while True:
        if inside:
            at = text.find(b'"', at)
            if at < 0:
                return Walk(passed, inside=True, stray=stray)
            at += 1
            if text[at : at + 1] == b'"':
                at += 1
                continue
            inside = False
            stray = stray or text[at : at + 1] not in (delimiter, b"\n", b"")
        at = text.find(delimiter, at)
        if at < 0:
            return Walk(passed, inside=False, stray=stray)
        at += len(delimiter)
        passed += 1
        if text[at : at + 1] == b'"':
            inside, at = True, at + 1


def ends_inside(line: bytes, *, inside: bool, delimiter: bytes) -> bool:
    """True when the line ends within a quoted field; `inside` says whether it begins within one."""
    return walk(line, inside=inside, delimiter=delimiter).inside
