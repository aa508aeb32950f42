"""Training runs in words: which are compared, what differs, what is better, what stands in the CSV."""

import csv
import io
from typing import Any

import pytest

from console.runs import choosing, words
from tests.run_builders import a_run, run_id, shown


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (None, []),
        ("", []),
        ("a,b,a", ["a", "b"]),
        ("a,<script>,../b,c", ["a", "c"]),
        (",".join(f"r{n}" for n in range(20)), [f"r{n}" for n in range(10)]),
    ],
)
def test_what_the_url_names(text: str | None, ids: list[str]) -> None:
    assert choosing.parsed(text) == ids


def test_ten_runs_are_compared_at_most() -> None:
    ten = [f"r{n}" for n in range(10)]
    assert choosing.toggled(["a"], "b") == ["a", "b"]
    assert choosing.toggled(["a", "b"], "a") == ["b"]
    assert choosing.toggled(ten, "one more") == ten


def test_a_click_adds_or_removes_one_and_a_box_takes_all_in_it() -> None:
    def points(*ids: str) -> list[dict[str, Any]]:
        return [{"customdata": [one]} for one in ids]

    known = ["a", "b", "c"]
    assert choosing.picked(["a"], {"points": points("b")}, known) == ["a", "b"]
    assert choosing.picked(["a", "b"], {"points": points("b")}, known) == ["a"]
    assert choosing.picked(["a"], {"points": points("b", "c"), "box": [{}]}, known) == ["b", "c"]
    assert choosing.picked(["a"], {"points": points("b"), "box": [{}]}, known) == ["b"]
    assert choosing.picked(["a"], {"points": [{}, *points("stranger")]}, known) == ["a"]
    assert choosing.picked(["a"], {}, known) == ["a"]


def test_the_baseline_is_pinned_or_the_first() -> None:
    assert choosing.baseline_of(["a", "b"], "b") == "b"
    assert choosing.baseline_of(["a", "b"], "gone") == "a"
    assert choosing.baseline_of([], "b") is None


def test_a_run_is_called_by_its_version_or_its_id() -> None:
    second, first = shown(a_run(1), a_run(2, "gaussian_mlp"), registered=(1,))
    assert words.label(first) == "v1 Kalman filter"
    assert words.label(second) == "Gaussian MLP 020202"
    [foreign] = shown(a_run(3, params={}))
    assert words.label(foreign) == "kalman 030303"


def test_better_and_worse_are_against_the_baseline() -> None:
    new, old = shown(a_run(1), a_run(4))
    lines = {line.title: line for line in words.figure_lines([old, new], old)}
    assert [cell.text for cell in lines["ADE (m)"].cells] == ["0.480", "0.420"]
    assert [(cell.words, cell.tone) for cell in lines["ADE (m)"].cells] == [("", "unknown"), ("12 % better", "ok")]
    assert (lines["Coverage of 90 %"].cells[1].words, lines["Coverage of 90 %"].cells[1].tone) == ("0.010 further", "bad")
    slower = lines["Time of one forecast (ms)"].cells[1]
    assert (slower.words, slower.tone) == ("300 % worse", "bad")
    same = words.figure_lines([old, old.model_copy(update={"run_id": "other"})], old)
    assert {line.cells[1].words for line in same} == {"same"}
    assert not any(line.differs for line in same)


@pytest.mark.parametrize("fingerprint", ["77aa", None], ids=["other data", "unknown data"])
def test_figures_of_other_data_are_not_judged(fingerprint: str | None) -> None:
    new, old = shown(a_run(1), a_run(4))
    apart = new.model_copy(update={"data_fingerprint": fingerprint})
    assert not words.is_comparable(apart, old)
    assert {line.cells[1].words for line in words.figure_lines([old, apart], old)} == {"other data"}
    assert words.is_comparable(new, old.model_copy(update={"data_fingerprint": "sha256:9f1c"}))


def test_the_data_are_called_by_their_name_or_their_fingerprint() -> None:
    new, old = shown(a_run(1), a_run(4))
    nameless = new.model_copy(update={"dataset": None})
    assert words.data_words(nameless, [old]) == "match"
    assert words.data_words(nameless) == "tracks 9f1c"
    assert words.data_words(nameless.model_copy(update={"data_fingerprint": None})) == "unknown tracks"


def test_only_parameters_that_differ_are_left() -> None:
    new, old = shown(a_run(1), a_run(4))
    differing = [line.title for line in words.parameter_lines([old, new]) if line.differs]
    assert differing == ["Commit", "seed"]
    assert "window.dt_s" in [line.title for line in words.parameter_lines([old, new])]
    long = new.model_copy(update={"params": {"a": "x" * 64, "b": "word " * 40}})
    values = {line.title: line.cells[0].text for line in words.parameter_lines([long])}
    assert values["a"] == "x" * 17 + "…"
    assert len(values["b"]) == 60


def test_the_verdict_names_the_best_on_the_newest_data() -> None:
    runs = shown(a_run(1), a_run(2), a_run(3, status="failed", metrics={}), registered=(1,))
    assert words.verdict(runs, has_more=False, is_filtered=False) == (
        "3 runs, 1 of them registered. Best ADE on match: Kalman filter 020202, 0.460 m."
    )
    assert words.verdict(runs[:1], has_more=True, is_filtered=True) == "The newest 1 run match the filters; none has been validated yet."


def test_the_csv_holds_what_is_shown_and_no_formula() -> None:
    new, old = shown(a_run(1, params={"family": "=cmd()", "note": "=1+1", "shift": "-2.5"}), a_run(4))
    lines = [*words.figure_lines([old, new], old)[:1], *words.parameter_lines([old, new])]
    rows = list(csv.reader(io.StringIO(words.comparison_csv([old, new], old, lines))))
    by_title = {row[0]: row[1:] for row in rows}
    assert rows[0][1].startswith("'=cmd()")
    assert by_title["Run"][:2] == [run_id(1), run_id(4)]
    assert by_title["ADE (m)"] == ["0.480", "0.420", "other data"]
    assert by_title["note"][0] == "'=1+1"
    assert by_title["shift"][0] == "-2.5"
