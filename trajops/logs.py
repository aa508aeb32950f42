"""Structured logs: one line of JSON a record, with the field names of the Elastic Common Schema.

Every process calls `configure` once. What a caller gives as `extra=` stands under `trajops` in the line:
`logger.info("job finished", extra={"job": "join_truth", "duration_s": 0.2})`.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

ECS_VERSION = "8.17.0"
# Attribute of a record with further fields that have ECS names of their own, such as `trace.id`.
ECS = "ecs"
# `color_message` is uvicorn's coloured copy of the message.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message", ECS}
# Libraries that put handlers of their own on their loggers.
SERVERS = ("uvicorn", "streamlit", "websockets")
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, without the line's end."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line; a value that JSON does not know is written as its text."""
        line: dict[str, Any] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "log.level": record.levelname.lower(),
            "message": record.getMessage(),
            "service.name": self._service,
            "log.logger": record.name,
            "process.pid": record.process,
            "ecs.version": ECS_VERSION,
            **getattr(record, ECS, {}),
        }
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if fields:
            line["trajops"] = fields
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error.type"] = type(error).__qualname__
            line["error.message"] = str(error)
            line["error.stack_trace"] = "".join(traceback.format_exception(error))
        return orjson.dumps(line, default=str, option=_OPTIONS).decode().rstrip("\n")


def configure(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send every record of this process, and every Python warning, to one stream as JSON lines.

    Handlers that a server library put on its own loggers are taken away, so that no line is written twice or in another form.

    Args:
        service: name of the process in each line: `api`, `workers`, `console`.
        level: least severe level that is written.
        stream: standard output by default.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    servers = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in SERVERS]
    for name in {*SERVERS, *servers}:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("httpx", "httpcore", "alembic.runtime.plugins"):  # they tell of every request, every plug-in
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
