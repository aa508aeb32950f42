"""What an Arrow IPC stream would take, told from its messages before any of it is unpacked.

A compressed buffer begins with its uncompressed length, which is what Arrow allocates for it: a body of a kilobyte may ask for
gigabytes. pyarrow hands out a message's metadata (a flatbuffer, which it has verified), but does not say what stands in it, so the few
fields that matter are read here, each within its bounds: the tables and their slots are those of Arrow's `format/Message.fbs`.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from trajops.errors import InvalidInput, TooLarge

_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
# Slots of the tables.
_HEADER_TYPE, _HEADER = 1, 2
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3
_DICTIONARY_DATA = 1
# A buffer is two int64: offset and length. The length of one that is compressed says -1 where it is stored as it is.
_BUFFER_BYTES, _LENGTH_BYTES, _AS_IT_IS = 16, 8, -1
# Messages that a stream may have beside its record batches, and for each row: the schema, dictionaries, batches without a row.
_MESSAGES, _MESSAGES_A_ROW = 64, 4


class _Size(NamedTuple):
    """Rows of a record batch, and the bytes that its compressed buffers unpack to."""

    rows: int
    bytes: int


class _Table:
    """A table of a flatbuffer.

    Args:
        content: the flatbuffer.
        at: where the table begins.
    """

    def __init__(self, content: memoryview, at: int) -> None:
        self._content, self._at = content, at
        self._slots = at - _unpacked("<i", content, at)

    def at(self, slot: int) -> int | None:
        """Where a field stands; None where it has its default."""
        place = 4 + 2 * slot
        if place >= _unpacked("<H", self._content, self._slots):
            return None
        offset = _unpacked("<H", self._content, self._slots + place)
        return self._at + offset if offset else None

    def table(self, slot: int) -> "_Table | None":
        """A table that a field points at."""
        at = self.at(slot)
        return None if at is None else _Table(self._content, at + _unpacked("<I", self._content, at))

    def number(self, slot: int, form: str) -> int:
        """A whole number."""
        at = self.at(slot)
        return 0 if at is None else _unpacked(form, self._content, at)

    def pairs(self, slot: int) -> list[tuple[int, int]]:
        """A vector of pairs of int64."""
        at = self.at(slot)
        if at is None:
            return []
        at += _unpacked("<I", self._content, at)
        count = _unpacked("<I", self._content, at)
        return list(struct.iter_unpack("<qq", self._content[at + 4 : at + 4 + count * _BUFFER_BYTES]))


def _unpacked(form: str, content: memoryview, at: int) -> int:
    if at < 0:
        raise struct.error("before the beginning")
    [number] = struct.unpack_from(form, content, at)
    return int(number)


def check(body: bytes, max_bytes: int, refuse_rows: Callable[[int], None]) -> None:
    """Refuse a stream that would take more than it may. Nothing is unpacked.

    Args:
        body: the stream.
        max_bytes: most bytes that its compressed buffers may unpack to, together.
        refuse_rows: called with the rows counted so far; raises where they are too many.

    Raises:
        InvalidInput: if it is not such a stream, or one of before Arrow 1.0, whose buffers may be compressed in another way.
        TooLarge: if it unpacks to more than `max_bytes`, or as `refuse_rows` raises.
        pyarrow.ArrowException: if it is damaged.
    """
    rows = size = 0
    for count, message in enumerate(pa.ipc.MessageReader.open_stream(pa.py_buffer(body)), 1):
        if message.metadata_version != pa.ipc.MetadataVersion.V5:
            raise InvalidInput("the stream has the format of before Arrow 1.0; write it with metadata version V5, which is the default")
        try:
            found = _size(message)
        except struct.error as error:
            raise InvalidInput(f"the body is not an Arrow IPC stream: its message {count} is damaged ({error})") from error
        rows, size = rows + found.rows, size + found.bytes
        if size > max_bytes:
            raise TooLarge(
                f"the compressed columns unpack to more than {max_bytes} bytes; send them in parts, or raise TRAJOPS_MAX_BODY_BYTES"
            )
        refuse_rows(rows)
        if count > _MESSAGES + _MESSAGES_A_ROW * rows:
            raise InvalidInput(f"the stream has {count} messages and only {rows} rows yet; put more rows into a record batch")


def _size(message: "pa.ipc.Message") -> _Size:
    metadata = memoryview(message.metadata)
    root = _Table(metadata, _unpacked("<I", metadata, 0))
    kind, header = root.number(_HEADER_TYPE, "<B"), root.table(_HEADER)
    rows = 0
    if kind == _RECORD_BATCH and header is not None:
        rows = header.number(_LENGTH, "<q")
    elif kind == _DICTIONARY_BATCH and header is not None:
        header = header.table(_DICTIONARY_DATA)
    else:
        return _Size(0, 0)
    if rows < 0:
        raise struct.error(f"a record batch of {rows} rows")
    if header is None or header.at(_COMPRESSION) is None:
        return _Size(rows, 0)
    body = memoryview(message.body or b"")
    return _Size(rows, sum(_uncompressed(body, offset, length) for offset, length in header.pairs(_BUFFERS)))


def _uncompressed(body: memoryview, offset: int, length: int) -> int:
    """Bytes that are allocated for one buffer."""
    if not length:
        return 0
    if length < _LENGTH_BYTES or offset < 0 or offset + length > len(body):
        raise struct.error("a buffer beyond its message")
    said = _unpacked("<q", body, offset)
    if said < _AS_IT_IS:
        raise struct.error(f"a buffer of {said} bytes")
    return length if said == _AS_IT_IS else said
