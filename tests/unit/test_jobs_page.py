"""Words and checks of the Jobs page."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from console.jobs.words import (
    FAMILIES,
    SOURCES,
    Draft,
    asked_of,
    came_of,
    draft_problems,
    facts,
    figures,
    file_words,
    left_words,
    name_of,
    refusals,
    runs_link,
    size,
    split_names,
    task_mark,
    verdict,
    versions_of,
)
from tests.task_builders import AT, FILE, REASON, a_task, asked
from trajops.contracts.tasks import CancelOut, Family, TaskFileOut, TaskOutcomeOut, TasksOut
from trajops.tasks.lifecycle import TaskState
from workers.training.candidates import FAMILIES as TRAINED

TRACKS = TaskFileOut(file_id=FILE, name="match.csv", bytes=812_345, rows=21_000, agents=22, scenes=1)
TRAFFIC = {"since": "2026-11-24T03:00:00Z", "until": "2026-11-24T04:00:00Z"}


def a_draft(**changes: Any) -> Draft:
    given: dict[str, Any] = {
        "kind": "batch_predict",
        "source": SOURCES[0],
        "file": TRACKS,
        "since": AT,
        "until": AT + timedelta(hours=1),
        "scenes": (),
        "model_version": None,
        "windows": "last",
        "form": "csv",
        "families": (),
        "dataset": "",
        "is_staged": False,
    }
    return Draft(**(given | changes))


def some(*tasks: Any, queued: int = 0) -> TasksOut:
    return TasksOut(tasks=list(tasks), running=0, queued=queued, max_queued=50, max_queued_per_person=5)


def test_what_is_missing_is_said_before_anything_is_sent() -> None:
    assert draft_problems(a_draft()) == []
    assert draft_problems(a_draft(file=None)) == ["Choose a file of tracks."]
    assert draft_problems(a_draft(source=SOURCES[1], file=None, until=AT)) == ["The range must begin before it ends."]
    assert draft_problems(a_draft(kind="train")) == ["Choose at least one model family to train."]


def test_the_form_becomes_what_the_api_takes() -> None:
    assert asked_of(a_draft(form="parquet", model_version=3), REASON) == asked(format="parquet", windows="last", model_version=3)
    train = a_draft(kind="train", families=("kalman",), dataset=" league ", is_staged=True, model_version=3)
    assert asked_of(train, REASON) == asked("train", dataset="league", is_staged=True)
    traffic = asked_of(a_draft(kind="evaluate", source=SOURCES[1], scenes=("a", "b")), REASON)
    assert traffic.traffic is not None
    assert (traffic.file_id, traffic.traffic.scenes, traffic.kind) == (None, ["a", "b"], "evaluate")
    with pytest.raises(ValidationError) as caught:
        asked_of(a_draft(kind="train"), REASON)
    assert refusals(caught.value) == "Families: name at least one to train."


def test_every_family_that_is_trained_can_be_chosen() -> None:
    assert set(FAMILIES.values()) == set(TRAINED) == set(Family.__args__)  # type: ignore[attr-defined]


def test_a_file_is_told_by_what_is_in_it() -> None:
    assert "22 agents in 1 scene" in file_words(TRACKS)
    assert "too large to be looked into now" in file_words(TRACKS.model_copy(update={"rows": None}))
    assert [size(value) for value in (None, 37, 812_345, 2_500_000)] == ["–", "37 B", "812 kB", "2.5 MB"]
    assert split_names(" a, b,,a ") == ("a", "b")


def test_a_job_is_named_by_what_it_does_and_on_what() -> None:
    assert name_of(a_task(file=TRACKS)) == "Batch forecast, match.csv"
    assert name_of(a_task(asked=asked("train", dataset="league"), file=TRACKS)) == "Training, league"
    traffic = asked("evaluate", file_id=None, traffic=TRAFFIC)
    assert name_of(a_task(asked=traffic)) == "Evaluation, traffic of 2026-11-24 03:00 – 04:00 UTC"
    assert dict(facts(a_task(asked=traffic, attempts=2)))["Begun"] == "2 times, because a worker had disappeared"


def test_there_is_an_estimate_only_where_there_is_a_pace() -> None:
    assert left_words(a_task(eta_s=None)) == "no estimate yet"
    assert left_words(a_task(eta_s=95.0)) == "about 95 s left"


def test_a_running_job_that_is_cancelled_is_being_ended() -> None:
    said = CancelOut(at=AT, by="bob", reason=REASON)
    assert task_mark(a_task(state=TaskState.RUNNING, cancelled=said)).word == "Is ended"
    assert task_mark(a_task(state=TaskState.CANCELLED, cancelled=said)).word == "Cancelled"


def test_the_verdict_says_what_runs_and_waits_or_how_the_last_one_ended() -> None:
    now = AT + timedelta(seconds=20)
    running = a_task(state=TaskState.RUNNING, file=TRACKS, started_at=AT)
    assert verdict(some(running, queued=2), now)[1] == "Batch forecast, match.csv has run for 20 s; 2 wait."
    assert verdict(some(), now)[1] == "Nothing runs or waits."
    failed = a_task(state=TaskState.FAILED, file=TRACKS)
    assert verdict(some(failed), now) == (task_mark(failed), "Nothing runs or waits; the last job, Batch forecast, match.csv, failed.")
    assert verdict(some(a_task(), queued=1), now)[0].tone == "unknown"
    assert verdict(some(a_task(), queued=1), now + timedelta(minutes=1))[0].tone == "warn"


def test_a_job_leads_to_what_it_has_made_or_measured() -> None:
    made = TaskOutcomeOut(sentence="v4, v5 are registered.", model_versions=[4, 5], run_ids=["r4", "r5"])
    trained = a_task(asked=asked("train"), model_version=None, outcome=made)
    assert (versions_of(trained), runs_link(trained)) == ([4, 5], {"runs": "r4,r5"})
    older = trained.model_copy(update={"outcome": made.model_copy(update={"run_ids": []})})
    assert (versions_of(older), runs_link(older)) == ([4, 5], None)
    waits = a_task(asked=asked("train"), model_version=None)
    assert (versions_of(waits), runs_link(waits)) == ([], None)
    assert (versions_of(a_task(asked=asked("evaluate"))), runs_link(a_task(asked=asked("evaluate")))) == ([3], None)


def test_a_job_that_broke_off_says_why_and_what_it_has_registered() -> None:
    left = TaskOutcomeOut(sentence="v4 was registered before that.", model_versions=[4])
    failed = a_task(state=TaskState.FAILED, error="it took longer than 60 s", outcome=left)
    assert came_of(failed) == "It took longer than 60 s. v4 was registered before that."
    said = CancelOut(at=AT, by="bob", reason="the wrong match.")
    assert (
        came_of(a_task(state=TaskState.CANCELLED, cancelled=said, outcome=left))
        == "By bob: the wrong match. v4 was registered before that."
    )
    assert came_of(a_task(state=TaskState.DONE, outcome=left)) == "v4 was registered before that."


def test_figures_have_units() -> None:
    task = a_task(
        outcome=TaskOutcomeOut(
            sentence="x", figures={"val_ade_m": 0.412, "val_coverage_90": 0.897, "val_other": 1.0, "val_latency_ms": 0.004}
        )
    )
    assert figures(task) == [("ADE", "0.41 m"), ("90 % ellipse holds", "89.7 %"), ("Time of a forecast", "4 µs")]
    assert figures(a_task()) == []
