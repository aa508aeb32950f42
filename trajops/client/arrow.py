"""Tables as Arrow IPC streams. pyarrow is imported here, and only when a table is sent."""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

Table: TypeAlias = "pa.Table"
MEDIA_TYPE = "application/vnd.apache.arrow.stream"


def written(table: Table) -> bytes:
    """A table as a stream."""
    import pyarrow as pa  # noqa: PLC0415 - optional, and heavy

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read(content: bytes) -> Table:
    """The table in a stream.

    Raises:
        ValueError: if it is none.
    """
    import pyarrow as pa  # noqa: PLC0415 - optional, and heavy

    try:
        with pa.ipc.open_stream(content) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not an Arrow stream: {error}") from error
