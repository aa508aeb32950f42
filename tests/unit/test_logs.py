"""Logs: one line of JSON a record, whatever is logged."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from trajops.logs import ECS, configure


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure("workers", "info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_ecs_names_and_the_caller_s_fields(stream: io.StringIO) -> None:
    logging.getLogger("workers.runner").info("the job %s ended", "prune", extra={"job": "prune", "path": Path("x")})
    [line] = lines(stream)
    assert (line["log.level"], line["message"], line["service.name"]) == ("info", "the job prune ended", "workers")
    assert line["trajops"] == {"job": "prune", "path": "x"}
    at = datetime.fromisoformat(str(line["@timestamp"]))
    assert at.tzinfo is not None
    assert line["log.logger"] == "workers.runner"


def test_a_record_may_have_further_ecs_names(stream: io.StringIO) -> None:
    logging.getLogger("x").info("said", extra={ECS: {"trace.id": "1f"}, "job": "prune"})
    [line] = lines(stream)
    assert (line["trace.id"], line["trajops"]) == ("1f", {"job": "prune"})


def test_an_exception_is_one_line_with_its_stack(stream: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    [line] = lines(stream)
    assert (line["error.type"], line["error.message"]) == ("ValueError", "two\nlines")
    assert "test_logs.py" in str(line["error.stack_trace"])


def test_less_severe_lines_are_left_out(stream: io.StringIO) -> None:
    logging.getLogger("x").debug("not said")
    assert lines(stream) == []


def test_a_server_s_own_handlers_are_taken_away(stream: io.StringIO) -> None:
    server = logging.getLogger("uvicorn.error")
    own = io.StringIO()
    server.addHandler(logging.StreamHandler(own))
    server.propagate = False
    configure("api", "info", stream)
    server.info("started", extra={"color_message": "\x1b[32mstarted"})
    assert own.getvalue() == ""
    [line] = lines(stream)
    assert (line["service.name"], line["message"]) == ("api", "started")
    assert "trajops" not in line


def test_a_warning_of_python_is_a_line(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old way", UserWarning, stacklevel=1)
    assert "old way" in str(lines(stream)[-1]["message"])
