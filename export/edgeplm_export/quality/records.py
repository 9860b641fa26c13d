"""Records of a data file, one at a time: .csv, .tsv, .jsonl, .json and .txt, whatever its columns mean.

Nothing but .json is held in memory. A record is (row, {column: value}): `row` is the line on which it begins, as an
editor counts, and for .json the position in the list, from 1.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeplm_runtime.errors import BadInput, shown


Record = tuple[int, dict[str, Any]]
LINE_LIMIT_BYTES = 16 * 2**20  # a longer line is no line of text; without a limit it would fill the memory
JSON_LIMIT_BYTES = 256 * 2**20  # .json cannot be read piece by piece


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, read by the ending of its name. Raises BadInput, naming file and row."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"{path}: data of the ending {path.suffix or '(none)'!r}; expected one of {', '.join(READERS)}.")
    try:
        yield from reader(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}. Give a file of examples.") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, with line ends, without a byte order mark."""
    offset = 0
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_LIMIT_BYTES + 1):
            number += 1
            if len(line) > LINE_LIMIT_BYTES:
                raise BadInput(f"{path}, line {number} is longer than {LINE_LIMIT_BYTES >> 20} MB. Is it a text file?")
            text = _decoded(path, line, number, offset)
            offset += len(line)
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _decoded(path: Path, data: bytes, number: int, offset: int) -> str:
    """The text of bytes that begin on line `number`, at `offset` of the file."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + data.count(b"\n", 0, error.start)
        raise BadInput(
            f"{path}, line {line}: byte {offset + error.start} of the file "
            f"(0x{data[error.start]:02x}) is not UTF-8. Save the file as UTF-8."
        ) from None


def _csv(path: Path) -> Iterator[Record]:
    """RFC 4180: quoted fields may hold commas, line ends and doubled quotes."""
    start = 1
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    header: list[str] | None = None
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadInput(f"{path}, row {start}: {error}. Is a quote not closed, or not doubled?") from None
        if header is None:
            header = _header(path, fields)
        elif fields:
            yield start, _fitted(path, start, header, fields)
        start = reader.line_num + 1


def _tsv(path: Path) -> Iterator[Record]:
    """A line is a record. A field in quotes that are balanced loses them; a lone quote is text, as in GLUE's files."""
    header: list[str] | None = None
    for row, line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if header is None:
            header = _header(path, fields)
        elif fields != [""] or len(header) == 1:
            yield row, _fitted(path, row, header, [_unquoted(field) for field in fields])


def _unquoted(field: str) -> str:
    inner = field[1:-1].replace('""', "")
    quoted = len(field) > 1 and field.startswith('"') and field.endswith('"') and '"' not in inner
    return field[1:-1].replace('""', '"') if quoted else field


def _header(path: Path, fields: list[str]) -> list[str]:
    names = [_unquoted(name.strip()) for name in fields]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"{path}: the first row names the column {shown(twice[0])} twice; rename one of them.")
    return names


def _fitted(path: Path, row: int, header: list[str], fields: list[str]) -> dict[str, Any]:
    if len(fields) != len(header):
        raise BadInput(
            f"{path}, row {row} has {len(fields)} fields; the first row names {len(header)} columns "
            f"({', '.join(map(shown, header[:8]))}). Quote a field that holds the separator."
        )
    return dict(zip(header, fields, strict=True))


def _jsonl(path: Path) -> Iterator[Record]:
    for row, line in _lines(path):
        if line.strip():
            yield row, _as_record(path, row, _parsed(line, f"{path}, row {row}"))


def _json(path: Path) -> Iterator[Record]:
    if (size := path.stat().st_size) > JSON_LIMIT_BYTES:
        raise BadInput(f"{path} has {size >> 20} MB, and .json must be read whole. Write it as .jsonl, a row a line.")
    document = _parsed(_decoded(path, path.read_bytes(), 1, 0).removeprefix("\ufeff") or "[]", str(path))
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        document = document["data"]
    if not isinstance(document, list):
        raise BadInput(f"{path} holds {_kind(document)}; expected a list of objects, or one under the key 'data'.")
    for row, value in enumerate(document, 1):
        yield row, _as_record(path, row, value)


def _txt(path: Path) -> Iterator[Record]:
    for row, line in _lines(path):
        if text := line.strip():
            yield row, {"text": text}


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not JSON: {error}.") from None


def _as_record(path: Path, row: int, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        raise BadInput(f"{path}, row {row} is {_kind(value)}; expected an object such as {{'text': …, 'label': …}}.")
    return value


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), repr(value)[:40])


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".json": _json,
    ".txt": _txt,
}
