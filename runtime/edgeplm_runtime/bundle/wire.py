"""The protobuf wire format, read in place: field tags and positions, without the protobuf package.

Only what an ONNX file needs: varints, fixed numbers and length-delimited fields. Groups, which ONNX never
used, count as damage. Nothing is copied, so that skipping a gigabyte of weights costs one comparison, and
one budget of fields for the whole file bounds the time that hostile bytes can take.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


# 15 for each of the 200 000 nodes and initializers allowed; 26 real exports have 9 to 25 a node. 1 to 2 s.
MAX_FIELDS = 3_000_000
# 800 times the longest value name in 26 exports of six families (81 bytes).
MAX_NAME_BYTES = 65_536

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class MalformedWire(ValueError):
    """Bytes that are not the protobuf wire format; the message says what is wrong at which byte."""


def tag_of(number: int, wire_type: int = LENGTH) -> int:
    """The tag that stands before field `number` on the wire."""
    return number << 3 | wire_type


def signed(value: int) -> int:
    """A varint (0 to 2**64 - 1) as the int64 that it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


class WireReader:
    """Reads the messages of one file and counts every field against one budget."""

    def __init__(self, data: bytes | memoryview, max_fields: int = MAX_FIELDS) -> None:
        if isinstance(data, memoryview) and not (data.ndim == 1 and data.format == "B" and data.contiguous):
            data = data.cast("B")
        self.data = data
        self.fields_left = max_fields

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The fields of the message in bytes start..end, each as (tag, value, end).

        A varint gives (tag, unsigned 64-bit value, position after it); every other wire type gives
        (tag, first byte, byte after the last one). Raises MalformedWire.
        """
        data = self.data
        position = start
        # One loop with the one-byte cases inline: this is where the scan spends its time.
        for _ in range(self.fields_left):
            if position >= end:
                return
            self.fields_left -= 1
            tag = data[position]
            position += 1
            if tag > 127:
                tag, position = self._varint(position - 1, end)
            wire_type = tag & 7
            if tag < 8 or tag >= 1 << 32:
                raise MalformedWire(f"byte {position - 1}: there is no field {tag >> 3}")
            if wire_type == LENGTH:
                if position < end and (length := data[position]) < 128:
                    position += 1
                else:
                    length, position = self._varint(position, end)
                after = position + length
                if after > end:
                    raise MalformedWire(f"byte {position}: a field of {length} bytes, {end - position} are left")
                yield tag, position, after
                position = after
            elif wire_type == VARINT:
                if position < end and (value := data[position]) < 128:
                    position += 1
                else:
                    value, position = self._varint(position, end)
                yield tag, value, position
            elif wire_type in (FIXED32, FIXED64):
                after = position + (4 if wire_type == FIXED32 else 8)
                if after > end:
                    raise MalformedWire(f"byte {position}: the file ends within a number")
                yield tag, position, after
                position = after
            else:
                raise MalformedWire(f"byte {position - 1}: wire type {wire_type} is not used in ONNX")
        if position < end:
            raise MalformedWire(f"more than {MAX_FIELDS} fields, which no graph within the limits has")

    def text(self, start: int, end: int) -> str:
        """The UTF-8 text in bytes start..end. Raises MalformedWire."""
        if end - start > MAX_NAME_BYTES:
            raise MalformedWire(f"byte {start}: a name of {end - start} bytes, at most {MAX_NAME_BYTES}")
        try:
            return str(self.data[start:end], "utf-8")
        except UnicodeDecodeError:
            raise MalformedWire(f"byte {start}: a name that is not UTF-8") from None

    def packed_integers(self, start: int, end: int, limit: int) -> list[int]:
        """The first `limit` int64 values of a packed field. Raises MalformedWire."""
        values: list[int] = []
        while start < end and len(values) < limit:
            value, start = self._varint(start, end)
            values.append(signed(value))
        return values

    def packed_floats(self, start: int, end: int, form: str) -> list[float]:
        """The numbers of a fixed-width field; form is the struct letter, "f" or "d"."""
        width = struct.calcsize(form)
        if (end - start) % width:
            raise MalformedWire(f"byte {start}: {end - start} bytes are not a whole count of {width}-byte numbers")
        return list(struct.unpack(f"<{(end - start) // width}{form}", self.data[start:end]))

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        data = self.data
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise MalformedWire(f"byte {position}: the file ends within a number")
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                # protobuf keeps the low 64 bits of a tenth byte that says more
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
        raise MalformedWire(f"byte {position}: a number of more than 10 bytes")
