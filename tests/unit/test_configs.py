"""Configuration files: what ships is valid, and a mistake is named with its line."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from trajops.alerts.rules import AlertRules
from trajops.config_model import Config
from trajops.configs import load
from trajops.drift.rules import DriftRules
from trajops.errors import InvalidInput
from trajops.jobs import RELIED_ON
from trajops.performance.rules import PerformanceRules
from trajops.selection.rules import OWN_FAMILIES, Family, SelectionRules
from workers.schedules import JobName, Schedules
from workers.training.candidates import FAMILIES

CONFIGS = Path(__file__).parents[2] / "configs"

SCHEDULES = """\
jobs:
  join_truth:
    description: Scores predictions.
    every_s: 2
  prune:
    description: Forgets old rows.
    every_s: 60
"""


def test_shipped_schedules_name_every_job() -> None:
    schedules = load(CONFIGS / "schedules.yaml", Schedules)
    assert set(schedules.jobs) == set(get_args(JobName))
    assert set(RELIED_ON) < set(get_args(JobName)), "only what can be named is missed"


def test_shipped_drift_rules_write_out_every_default() -> None:
    """So that an operator sees in the file whatever can be set."""
    written = yaml.safe_load((CONFIGS / "drift.yaml").read_text())
    rules = load(CONFIGS / "drift.yaml", DriftRules)
    for section in ("current", "reference", "calibration", "confirm", "units", "report"):
        assert set(written[section]) == set(type(getattr(rules, section)).model_fields)


def test_shipped_performance_rules_write_out_every_default() -> None:
    written = yaml.safe_load((CONFIGS / "performance.yaml").read_text())
    rules = load(CONFIGS / "performance.yaml", PerformanceRules)
    assert rules == PerformanceRules()
    assert set(written) == set(PerformanceRules.model_fields)
    for section in set(written) - {"speed_bands"}:
        assert set(written[section]) == set(type(getattr(rules, section)).model_fields)


def test_a_mistake_in_the_performance_rules_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "performance.yaml"
    path.write_text((CONFIGS / "performance.yaml").read_text().replace("  holdout: 0.3", "  holdout: 1.3"))
    with pytest.raises(InvalidInput, match=r"performance.yaml:\d+: recalibration.holdout"):
        load(path, PerformanceRules)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        pytest.param("every_s: 2", "every_s: -2", 4, "jobs.join_truth.every_s", id="value"),
        pytest.param("every_s: 60", "evry_s: 60", 7, "jobs.prune.evry_s", id="unknown-key"),
        pytest.param("  prune:", "  prun:", 5, "jobs.prun", id="unknown-job"),
        pytest.param("    every_s: 60", "    every_s: 60\n    every_s: 61", 8, "stands twice", id="key-twice"),
        pytest.param("    every_s: 60", "    every_s: [60", 8, "not valid YAML", id="not-yaml"),
        pytest.param("    every_s: 60\n", "", 5, "give either every_s or cron", id="missing-key-names-its-parent"),
        pytest.param("    every_s: 60\n", "    every_s: 60\n    cron: '0 3 * * *'\n", 5, "and not both", id="interval-and-times"),
        pytest.param("every_s: 60", "cron: 61 3 * * *", 7, "'61 3 * * *' is no cron expression", id="no-such-minute"),
        pytest.param("every_s: 60", "cron: 0 3 30 2 *", 7, "a day that never comes", id="no-such-day"),
        pytest.param("every_s: 60", "cron: every night", 7, "five fields", id="no-cron"),
        pytest.param("every_s: 60", "cron: 0 3 * * 8", 7, "'8' is no weekday; give 0 to 7", id="no-such-weekday"),
        pytest.param("every_s: 60", "cron: 0 3,4 * * *\n    jitter_s: 901", 5, "of the shortest gap between times (3600 s)", id="jitter"),
        pytest.param("every_s: 60", "every_s: yes", 7, "valid number", id="yes-is-no-second"),
        pytest.param("every_s: 60", "every_s: 2026-02-30", 7, "'2026-02-30' is not what it looks like (timestamp)", id="no-such-date"),
        pytest.param("every_s: 60", "every_s: !!int six", 7, "'six' is not what it looks like (int)", id="tagged-otherwise"),
        pytest.param("every_s: 60", "every_s: !!bool six", 7, "'six' is not what it looks like (bool)", id="no-such-truth"),
        pytest.param("every_s: 60", "every_s: 60\n    cron: '\x01'", 8, "the character U+0001 is not allowed", id="control-character"),
        pytest.param("every_s: 60", "every_s: 60\n\tcron: x", 8, "cannot start any token", id="tab"),
        pytest.param("every_s: 60", "every_s: 60\n    missed: skip", 5, "missed: skip is for cron", id="nothing-to-miss"),
        pytest.param("every_s: 2\n", "every_s: 2\n    jitter_s: 1\n", 2, "jitter_s (1)", id="rule-over-two-values"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in SCHEDULES
    path = tmp_path / "schedules.yaml"
    path.write_text(SCHEDULES.replace(old, new))
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        load(path, Schedules)
    assert f"{path}:{line}: " in caught.value.message


@pytest.mark.parametrize("name", ["turning", "mirrored"])
def test_a_family_that_there_is_not_is_refused_lest_nothing_be_asked_of_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "selection.yaml"
    path.write_text(f"battery:\n  invariance:\n    {name}:\n      - kalman\n      - gausian_mlp\n      - pyfunc_model\n")
    with pytest.raises(
        InvalidInput, match=rf"^{re.escape(str(path))}:5: battery\.invariance\.{name}\.1: Input should be 'constant_veloc"
    ) as told:
        load(path, SelectionRules)
    assert "\n" not in told.value.message


def test_every_family_that_is_trained_here_can_be_named() -> None:
    assert set(FAMILIES) == set(OWN_FAMILIES) < set(get_args(Family))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "schedules.yaml"
    path.write_text(SCHEDULES.replace("every_s: 2", "every_s: no").replace("every_s: 60", "every_s: 0"))
    with pytest.raises(InvalidInput) as caught:
        load(path, Schedules)
    assert [line.split(":")[1] for line in caught.value.message.splitlines()] == ["4", "7"]


def test_a_list_item_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "drift.yaml"
    path.write_text("columns:\n  - {column: speed_mps, kind: input}\n  - column: ade_m\n    kind: outcome\n")
    with pytest.raises(InvalidInput, match=r"drift\.yaml:4: columns\.1\.kind"):
        load(path, DriftRules)


@pytest.mark.parametrize("text", ["", "# nothing\n"], ids=["empty", "comment-only"])
@pytest.mark.parametrize("model", [Schedules, AlertRules, PerformanceRules])
def test_an_empty_file_is_refused_even_where_all_could_be_left_out(tmp_path: Path, model: type[Config], text: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"rules\.yaml:1: the file says nothing"):
        load(path, model)


def test_a_missing_file_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="TRAJOPS_CONFIGS_DIR"):
        load(tmp_path / "schedules.yaml", Schedules)


def test_a_backfill_is_never_the_window_that_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "drift.yaml"
    path.write_text("current:\n  sources: [live, backfill]\ncolumns:\n  - {column: speed_mps, kind: input}\n")
    with pytest.raises(InvalidInput, match="'live' or 'replay'"):
        load(path, DriftRules)


@pytest.mark.parametrize("source", ["probe", "shadow"])
def test_what_nobody_was_answered_is_no_reference(tmp_path: Path, source: str) -> None:
    path = tmp_path / "drift.yaml"
    path.write_text(f"reference:\n  sources: [{source}]\ncolumns:\n  - {{column: speed_mps, kind: input}}\n")
    with pytest.raises(InvalidInput, match="'live', 'replay' or 'backfill'"):
        load(path, DriftRules)


def test_more_confirmations_than_checks_are_impossible(tmp_path: Path) -> None:
    path = tmp_path / "drift.yaml"
    path.write_text("columns: [{column: speed_mps, kind: input}]\nconfirm:\n  needed: 4\n  of: 3\n")
    with pytest.raises(InvalidInput, match=r"drift\.yaml:2: confirm"):
        load(path, DriftRules)


@pytest.mark.parametrize("text", ["jobs: &a\n  join_truth: *a\n", "jobs:\n  x: &a [1, *a]\n", "&a\njobs: [{x: *a}]\n"])
def test_an_anchor_within_itself_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=r"c\.yaml:[12]: an anchor is used within itself"):
        load(tmp_path / "c.yaml", Schedules)


def test_an_anchor_that_is_used_twice_is_no_loop(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("jobs:\n  join_truth: &a {description: Scores predictions., every_s: 2}\n  prune: *a\n")
    assert load(tmp_path / "c.yaml", Schedules).jobs["prune"].every_s == 2


def test_what_stands_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("[" * 5000 + "]" * 5000)
    with pytest.raises(InvalidInput, match=r"c\.yaml:1: lists and mappings stand too deep"):
        load(tmp_path / "c.yaml", Schedules)
