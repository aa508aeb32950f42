"""Figures of the configuration files: whatever is accepted can be reckoned with when a job runs, months later."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from data.lake.drift_source import VALUES
from trajops.alerts.rules import AlertRules
from trajops.config_model import Config
from trajops.configs import load
from trajops.drift.rules import COLUMNS, DriftRules
from trajops.errors import InvalidInput
from trajops.objectives import Objectives
from trajops.performance.rules import PerformanceRules
from trajops.policy.rules import PolicyRules
from trajops.rollouts.rules import RolloutRules
from trajops.selection.rules import SelectionRules
from workers.schedules import Schedules
from workers.signals import signal_names

CONFIGS = Path(__file__).parents[2] / "configs"
MODELS: Mapping[str, type[Config]] = {
    "alerts": AlertRules,
    "drift": DriftRules,
    "objectives": Objectives,
    "performance": PerformanceRules,
    "policy": PolicyRules,
    "rollouts": RolloutRules,
    "schedules": Schedules,
    "selection": SelectionRules,
}
WRITTEN = ("1.0e+300", "1.0e+30", "1.0e+12", "1000000000000", "-1", "0", ".nan", ".inf")

load_alerts = partial(load, model=AlertRules, context={"signals": signal_names()})


def loaded(path: Path, file: str) -> BaseModel:
    if file == "alerts":
        return load_alerts(path)
    context = {"alerts": {rule.name for rule in load_alerts(CONFIGS / "alerts.yaml").rules}} if file in {"policy", "rollouts"} else None
    return load(path, MODELS[file], context)


def figures(node: yaml.Node, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], yaml.ScalarNode]]:
    """Place and node of every number in a file."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from figures(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from figures(value, (*at, number))
    elif isinstance(node, yaml.ScalarNode) and node.tag in {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}:
        yield at, node


def value_at(rules: Any, at: tuple[str | int, ...]) -> float:
    for part in at:
        rules = rules[part] if isinstance(rules, dict | tuple) else getattr(rules, str(part))
    assert isinstance(rules, int | float)
    return rules


def outcome(path: Path, file: str, at: tuple[str | int, ...]) -> float | str:
    """The figure as it was accepted, or why it was refused."""
    try:
        return value_at(loaded(path, file), at)
    except InvalidInput as error:
        return error.message


def lines(path: Path, message: str) -> set[int]:
    """The lines that are named as wrong, each of which must be."""
    found = [re.match(rf"{re.escape(str(path))}:(\d+): \S+: ", line) for line in message.splitlines()]
    return {int(one[1]) for one in found if one is not None} if all(found) else set()


@pytest.mark.parametrize("file", MODELS)
def test_a_figure_of_a_shipped_file_is_refused_with_its_line_or_of_use(tmp_path: Path, file: str) -> None:
    text = (CONFIGS / f"{file}.yaml").read_text()
    path, present, found = tmp_path / f"{file}.yaml", datetime.now(UTC), list(figures(yaml.compose(text)))
    for at, node in found:
        for written in WRITTEN:
            path.write_text(text[: node.start_mark.index] + written + text[node.end_mark.index :])
            came = outcome(path, file, at)
            if isinstance(came, str):
                # A rule over several figures names the part that holds them.
                assert (node.start_mark.line + 1 in lines(path, came)) or (written in {"-1", "0"} and lines(path, came)), f"{at}: {came}"
            else:
                length = timedelta(days=came) if str(at[-1]).endswith("_days") else timedelta(seconds=came)
                assert present - length <= present + length, f"{at} = {written}"
    assert found


def numbers(model: type[BaseModel]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and JSON schema of every number of a model and of those in it."""
    schema = model.model_json_schema()
    for owner, part in {model.__name__: schema, **schema.get("$defs", {})}.items():
        for name, field in part.get("properties", {}).items():
            for one in (field, *field.get("anyOf", [])):
                if one.get("type") in {"number", "integer"} and owner != "Condition":  # a text in the file, and only compared with
                    yield f"{owner}.{name}", one


@pytest.mark.parametrize("file", MODELS)
def test_every_figure_has_bounds(file: str) -> None:
    """Also those that the shipped file leaves at their defaults."""
    found = dict(numbers(MODELS[file]))
    assert found
    assert [name for name, one in found.items() if not {"maximum", "exclusiveMaximum"} & one.keys()] == []
    assert [name for name, one in found.items() if not {"minimum", "exclusiveMinimum"} & one.keys()] == []


RECEIVER = "receivers:\n  - kind: {}\n    name: ops\n    {}"
MAIL, MANAGER = RECEIVER.format("email", "sender: a@b\n    to: [c@d]\n    {}"), RECEIVER.format("alertmanager", "{}")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("schedules", "retry_s: 3", "retry_s: yes", "jobs.reconcile_aliases.retry_s: Input should be a valid number"),
        (
            "drift",
            "{column: ade_m, kind: performance}",
            "{column: ade_m, kind: input}",
            "kind: Value error, ade_m is of the kind performance",
        ),
        ("drift", "{column: dt_s, kind: input}", "{column: dt_s, kind: prediction}", "kind: Value error, dt_s is of the kind input"),
        ("drift", "sources: [live, replay]", "sources: []", "current.sources: Tuple should have at least 1 item"),
        ("drift", "sources: [backfill]", "sources: []", "reference.sources: Tuple should have at least 1 item"),
        ("drift", "columns: [speed_mps, dt_s]", "columns: []", "units.columns: Tuple should have at least 1 item"),
        ("drift", "ridge: 0.1", "ridge: 1.0e-16", "domain.ridge: Input should be greater than or equal to 0.000001"),
        (
            "drift",
            "current:\n  window_s: 300",
            "current:\n  window_s: 30",
            "current: Value error, fast_window_s (60) cannot be more than window_s (30)",
        ),
        ("performance", "sources: [live, replay]", "sources: []", "check.sources: Tuple should have at least 1 item"),
        ("alerts", "receivers: []", MANAGER.format("url: http://[bad"), "url: Value error, "),
        ("alerts", "receivers: []", MANAGER.format("url: 'http://'"), "url: Value error, 'http://' is no address of a server"),
        ("alerts", "receivers: []", MANAGER.format("url: http://host:99999"), "url: Value error, "),
        ("alerts", "receivers: []", MAIL.format("host: ' '"), "host: String should match"),
    ],
)
def test_what_would_go_wrong_later_is_refused_with_its_line(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    text = (CONFIGS / f"{file}.yaml").read_text()
    place = text.index(old)
    path = tmp_path / f"{file}.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        loaded(path, file)
    # Of several lines, the last one is wrong; but a rule over several figures names the part that holds them, which is the first.
    first = 1 + text[:place].count("\n")
    assert lines(path, caught.value.message) == {first if "cannot be more" in said else first + new.count("\n")}


@pytest.mark.parametrize("spec", [">1999999999", ".999999999f", "100", "{value}", "0>{value}.{value}f"])
def test_a_summary_is_not_padded_without_end(spec: str) -> None:
    rule = {"name": "late", "title": "A job is late", "signal": "job_late", "when": ">= 1", "severity": "critical"}
    with pytest.raises(ValueError, match="cannot be written so; give numbers of two digits at most"):
        AlertRules.model_validate({"rules": [{**rule, "summary": f"{{value:{spec}}}"}]})
    assert AlertRules.model_validate({"rules": [{**rule, "summary": "{value:>+08,.12f} of {job:_^40}"}]}).rules


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("columns: [speed_mps, dt_s]", "columns: [speed_mps, dts]", r"units\.columns\.1: .*'dts'"),
        ("{column: jitter_m, ", "{column: jiter_m, ", r"columns\.5\.column: .*'jiter_m'"),
    ],
)
def test_a_column_that_is_not_there_is_refused(tmp_path: Path, old: str, new: str, place: str) -> None:
    text = (CONFIGS / "drift.yaml").read_text()
    line = 1 + text[: text.index(old)].count("\n")
    path = tmp_path / "drift.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InvalidInput, match=rf"drift\.yaml:{line}: {place}; there are speed_mps, .*jitter_m"):
        load(path, DriftRules)


def test_columns_that_can_be_watched_are_those_of_the_lake() -> None:
    assert set(COLUMNS) == set(VALUES) - {"observed_at_s"}
