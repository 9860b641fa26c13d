"""Reads what `edgeplm bench --json` wrote; says in words why it cannot."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeplm_runtime.benchmark.records import FORMAT, FORMAT_VERSION, Report
from edgeplm_runtime.errors import BadInput, shown


LIMIT_BYTES = 256 * 2**20  # a million calls of four cells are 80 MB
MAKE = "Make one with: edgeplm bench BUNDLE --json > FILE"


def read(path: str) -> Report:
    """The document in a file. Raises BadInput: no file, not JSON, another program's JSON, another major version."""
    place = Path(path)
    try:
        if place.is_dir():
            raise BadInput(f"{path} is a folder; expected a document of edgeplm bench. {MAKE}")
        if place.stat().st_size > LIMIT_BYTES:
            raise BadInput(f"{path} is larger than such a document can be, {LIMIT_BYTES // 2**20} MB. {MAKE}")
        data = place.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}. {MAKE}") from None
    except ValueError as error:  # a NUL in the path
        raise BadInput(f"{shown(path)} is no path: {error}.") from None
    if not data.strip():
        raise BadInput(f"{path} is empty; the run that should have written it failed. {MAKE}")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON: {str(error)[:200]}. {MAKE}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadInput(f'{path} is JSON, but not of edgeplm bench: it has no "format": {FORMAT!r}. {MAKE}')
    version = str(document.get("format_version"))
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise BadInput(
            f"{path} is of format {shown(version)}; this EdgePLM reads {FORMAT_VERSION.partition('.')[0]}.x. Measure "
            "again with this version, or compare with the one that wrote it."
        )
    try:
        return msgspec.convert(document, Report, str_keys=True)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path} does not follow the format: {str(error)[:300]}. {MAKE}") from None
