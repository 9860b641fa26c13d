"""What one ONNX tensor claims (dims, type, place of its bytes), held against what is really there.

Not known here: the values of external weights. They lie in another file, which the manifest's hash covers.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping

import msgspec
import numpy as np

from edgeplm_runtime.bundle.wire import FIXED32, FIXED64, VARINT, WireReader, signed, tag_of
from edgeplm_runtime.errors import BadBundle, shown


# Room for the largest single weight that a device of 16 GiB could hold at all.
MAX_TENSOR_BYTES = 16 * 2**30
# NumPy's own limit on axes; the graphs of transformers have at most 6.
MAX_AXES = 64

# Bits of one element by TensorProto.DataType; those above 26 (FLOAT6) came with IR 14.
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128}
BITS |= {16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}
STRING = 8
RAW_DTYPES = {1: "<f4", 5: "<i2", 6: "<i4", 7: "<i8", 11: "<f8"}

EXTERNAL = 1
DIMS, DIMS_PACKED = tag_of(1, VARINT), tag_of(1)
DATA_TYPE = tag_of(2, VARINT)
FLOATS, FLOATS_PACKED = tag_of(4, FIXED32), tag_of(4)
INT32S, INT32S_PACKED = tag_of(5, VARINT), tag_of(5)
STRINGS = tag_of(6)
INT64S, INT64S_PACKED = tag_of(7, VARINT), tag_of(7)
NAME = tag_of(8)
RAW = tag_of(9)
DOUBLES, DOUBLES_PACKED = tag_of(10, FIXED64), tag_of(10)
UINT64S, UINT64S_PACKED = tag_of(11, VARINT), tag_of(11)
EXTERNAL_ENTRY = tag_of(13)
DATA_LOCATION = tag_of(14, VARINT)
SPANS = {FLOATS, FLOATS_PACKED, DOUBLES, DOUBLES_PACKED, INT32S_PACKED, INT64S_PACKED, UINT64S_PACKED}
UNPACKED_INTEGERS = {INT32S, INT64S, UINT64S}
KEY, VALUE = tag_of(1), tag_of(2)


class Tensor(msgspec.Struct, kw_only=True):
    """One TensorProto without its values; start and end are its bytes in the file."""

    start: int
    end: int
    name: str = ""
    data_type: int = 0
    dims: list[int] = []
    raw_bytes: int | None = None
    typed_bytes: int = 0
    strings: int = 0
    external: dict[str, str] | None = None


def read_tensor(reader: WireReader, start: int, end: int) -> Tensor:
    """The tensor in bytes start..end. Raises MalformedWire."""
    tensor = Tensor(start=start, end=end)
    entries: dict[str, str] = {}
    location = 0
    for tag, value, after in reader.fields(start, end):
        if tag == DIMS:
            # One more than allowed is kept: check_tensor then refuses it with a proper message.
            if len(tensor.dims) <= MAX_AXES:
                tensor.dims.append(signed(value))
        elif tag == DIMS_PACKED:
            tensor.dims += reader.packed_integers(value, after, MAX_AXES + 1 - len(tensor.dims))
        elif tag == DATA_TYPE:
            tensor.data_type = value & 0xFFFF_FFFF
        elif tag == NAME:
            tensor.name = reader.text(value, after)
        elif tag == RAW:
            tensor.raw_bytes = after - value
        elif tag == EXTERNAL_ENTRY:
            key, entry = _entry(reader, value, after)
            entries[key] = entry
        elif tag == DATA_LOCATION:
            location = value & 0xFFFF_FFFF
        elif tag == STRINGS:
            tensor.strings += 1
        elif tag in SPANS:
            tensor.typed_bytes += after - value
        elif tag in UNPACKED_INTEGERS:
            tensor.typed_bytes += 1
    if location == EXTERNAL:
        tensor.external = entries
    return tensor


def _entry(reader: WireReader, start: int, end: int) -> tuple[str, str]:
    key = entry = ""
    for tag, value, after in reader.fields(start, end):
        if tag == KEY:
            key = reader.text(value, after)
        elif tag == VALUE:
            entry = reader.text(value, after)
    return key, entry


def check_tensor(tensor: Tensor, *, where: str, external_sizes: Mapping[str, int]) -> str | None:
    """Returns the normalised external location, or None where the values lie in the graph file.

    where: begins each message, "model.onnx: initializer 'w'". external_sizes: bytes of each file that may
    be read, by its path relative to the graph's folder. Raises BadBundle.
    """
    dims = tensor.dims
    if len(dims) > MAX_AXES:
        raise BadBundle(f"{where} has more than {MAX_AXES} axes, the most that is allowed; export it again.")
    if dims and min(dims) < 0:
        raise BadBundle(f"{where} has dims {dims}; no dim may be negative. Export the graph again.")
    elements = math.prod(dims)
    if tensor.data_type == STRING:
        if tensor.external is not None or tensor.raw_bytes is not None or tensor.strings != elements:
            raise BadBundle(
                f"{where} has dims {dims}, so {elements} strings, and holds {tensor.strings}. Export it again."
            )
        return None
    bits = BITS.get(tensor.data_type)
    if bits is None:
        raise BadBundle(
            f"{where} has the data type {tensor.data_type}; 1 to {max(BITS)} are known. "
            "If a newer tool made the graph, upgrade edgeplm; otherwise export it again."
        )
    expected = (elements * bits + 7) // 8
    if expected > MAX_TENSOR_BYTES:
        raise BadBundle(
            f"{where} has dims {dims}, which are {expected} bytes; at most {MAX_TENSOR_BYTES} are allowed. "
            "Do not use this graph."
        )
    if tensor.external is not None:
        return _check_external(tensor.external, expected, where, external_sizes)
    if tensor.raw_bytes is not None:
        if tensor.raw_bytes != expected:
            raise BadBundle(
                f"{where} has {tensor.raw_bytes} bytes of raw_data, its dims {dims} need {expected}. "
                "Copy the bundle again, or export it again."
            )
    elif elements > (most := _most_elements(tensor, bits)):
        raise BadBundle(
            f"{where} has dims {dims}, so {elements} elements, and data for at most {most}. "
            "Copy the bundle again, or export it again."
        )
    return None


def _most_elements(tensor: Tensor, bits: int) -> int:
    """How many elements the typed fields can hold at most; counting varints exactly would cost a walk."""
    if tensor.data_type in (1, 14):
        return tensor.typed_bytes // 4
    if tensor.data_type in (11, 15):
        return tensor.typed_bytes // 8
    return tensor.typed_bytes * max(1, 8 // bits)


def _check_external(entries: dict[str, str], expected: int, where: str, external_sizes: Mapping[str, int]) -> str:
    location = safe_location(entries.get("location", ""), where)
    size = external_sizes.get(location)
    if size is None:
        raise BadBundle(
            f"{where} has its values in {shown(location)}, which is not there (missing, or not listed in the "
            "manifest). Copy the bundle again, with that file."
        )
    offset = _bytes_entry(entries, "offset", 0, where)
    length = _bytes_entry(entries, "length", expected, where)
    if length != expected:
        raise BadBundle(
            f"{where} takes a length of {length} bytes from {shown(location)}, its dims need {expected}. "
            "Export the graph again."
        )
    if offset + length > size:
        raise BadBundle(
            f"{where} ends at byte {offset + length} of {shown(location)}, which has only {size} bytes: "
            "it is too short. Copy the bundle again."
        )
    return location


def safe_location(location: str, where: str) -> str:
    """An external location in its shortest form, if it stays below the graph's folder. Raises BadBundle."""
    parts = location.split("/")
    wrong = None
    if not location:
        wrong = "is empty"
    elif location.startswith("/") or re.match(r"[A-Za-z]:", location):
        wrong = "is absolute"
    elif "\\" in location or "\0" in location:
        wrong = "has a backslash or a NUL in it"
    elif ".." in parts or posixpath.normpath(location) == ".":
        wrong = "leads out of the graph's folder"
    if wrong:
        raise BadBundle(
            f"{where} has the external location {shown(location)}, which {wrong}; only a file below the "
            "graph's own folder is allowed. Do not use this bundle unless you know who made it."
        )
    return posixpath.normpath(location)


def _bytes_entry(entries: dict[str, str], key: str, default: int, where: str) -> int:
    written = entries.get(key)
    if written is None:
        return default
    # int() alone would also take " 1", "1_0" and digits of other scripts, which ONNX Runtime reads otherwise
    if not re.fullmatch(r"[0-9]{1,19}", written):
        wrong = "is negative" if written.startswith("-") else "is not a number"
        raise BadBundle(
            f"{where} has the external {key} {shown(written)}, which {wrong}; it has to be a count of bytes. "
            "Export the graph again."
        )
    return int(written)


def small_numbers(reader: WireReader, tensor: Tensor) -> list[float] | None:
    """The values of a checked tensor of at most 64 elements in the graph file; None for any other tensor.

    Raises MalformedWire.
    """
    dtype = RAW_DTYPES.get(tensor.data_type)
    if tensor.external is not None or dtype is None or math.prod(tensor.dims) > MAX_AXES:
        return None
    if tensor.typed_bytes > MAX_AXES * 10:
        return None
    raw: tuple[int, int] | None = None
    typed: list[float] = []
    for tag, value, after in reader.fields(tensor.start, tensor.end):
        if tag == RAW:
            raw = value, after
        elif tag in (INT32S, INT64S):
            typed.append(signed(value))
        elif tag in (INT32S_PACKED, INT64S_PACKED):
            typed += reader.packed_integers(value, after, MAX_AXES)
        elif tag in (FLOATS, FLOATS_PACKED):
            typed += reader.packed_floats(value, after, "f")
        elif tag in (DOUBLES, DOUBLES_PACKED):
            typed += reader.packed_floats(value, after, "d")
    if raw is None:
        return typed
    numbers: list[float] = np.frombuffer(reader.data[slice(*raw)], dtype=dtype).tolist()
    return numbers
