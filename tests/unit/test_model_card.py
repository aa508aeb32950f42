"""The model card: facts in their sections, and nothing from outside that could pass for more than text."""

import re
from typing import Any

from tests.record_builders import AT, check, ranked, validation
from trajops.contracts.validations import MeasuredOut, ValidationOut
from trajops.records import ModelVersion
from trajops.selection.card import card
from trajops.selection.results import ADE_BY_AGENT
from trajops.trajectories import WindowSpec

PARAMS = {"dataset": "a match", "data_fingerprint": "f" * 64, "windows.fit": "900", "recipe.epochs": "30", "family": "kalman"}


def a_version(**changes: Any) -> ModelVersion:
    given: dict[str, Any] = {"metrics": {"val_ade_m": 0.5, "val_nll": 1.25, "fit_s": 3.0}, "params": PARAMS} | changes
    return ModelVersion("trajectory", 3, "kalman", "run3", created_at=AT, digest="d" * 64, **given)


def written(found: ValidationOut | None = None, version: ModelVersion | None = None, **more: Any) -> str:
    return card(version or a_version(), found or validation(3), WindowSpec(), **more)


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_card_has_its_sections_in_order() -> None:
    assert list(sections(written())) == [
        "Model card: trajectory v3",
        "Intended use and limits",
        "Data",
        "Model",
        "Accuracy on held-out agents",
        "Beside the other candidates",
        "Battery",
        "Figures of the battery",
    ]
    assert written(is_numbered=False).startswith("# Model card: trajectory\n")


def test_use_and_limits_are_those_of_the_window() -> None:
    use = sections(card(a_version(), validation(3), WindowSpec(5, 10, 0.5)))["Intended use and limits"]
    assert "5 positions 0.5 s apart (2.0 s) in, 10 positions to 5.0 s ahead out" in use
    assert "±10,000 km" in use


def test_data_and_model_are_told_apart() -> None:
    parts = sections(written())
    assert "| dataset | a match |" in parts["Data"]
    assert f"| data_fingerprint | {'f' * 64} |" in parts["Data"]
    assert "the run's own held-out windows: 2212 windows of 172 agents" in parts["Data"]
    assert "| recipe.epochs | 30 |" in parts["Model"]
    assert "dataset" not in parts["Model"]
    assert parts["Model"].count("family") == 1
    elsewhere = sections(written(validation(3, dataset="another match", data_fingerprint="e" * 64)))
    assert "held-out windows of another match" in elsewhere["Data"]
    assert "no recorded windows" in sections(written(validation(3, windows=0)))["Data"]


def test_accuracy_has_its_interval() -> None:
    spread = MeasuredOut(name=ADE_BY_AGENT, unit="m", measured=0.52, low=0.48, high=0.56, is_within=True)
    found = validation(3, 0, check("worst_scenes").model_copy(update={"figures": [spread]}))
    accuracy = sections(written(found))["Accuracy on held-out agents"]
    assert "| ADE | 0.5 m |" in accuracy
    assert f"| {ADE_BY_AGENT} | 0.52 m (95 % interval 0.48 to 0.56 m) |" in accuracy
    assert "| NLL | 1.25 nats |" in accuracy
    assert "fit_s" not in accuracy
    assert "None was recorded." in sections(written(version=a_version(metrics={})))["Accuracy on held-out agents"]


def test_the_choice_is_told_with_all_candidates() -> None:
    ranking = [ranked(1, "gaussian_mlp"), ranked(2, "kalman", 7.6), ranked(None, "constant_velocity", None)]
    chosen = sections(written(validation(3, ranking=ranking)))["Beside the other candidates"]
    assert "Rank 2 of 3." in chosen
    assert "| 2 | kalman | 7.6 | 0.5 |" in chosen
    assert "| – | constant_velocity | – |" in chosen
    assert "It was not ranked" in sections(written(validation(3, ranking=[])))["Beside the other candidates"]


def test_the_battery_is_told_with_each_figure() -> None:
    found = validation(3, 0, check("signature"), check("latency", "failed", 31.0), check("calibration", "skipped"))
    parts = sections(written(found))
    assert "| latency | **failed** | the 99th percentile is 31 ms, allowed at most 20 ms |" in parts["Battery"]
    assert "| latency | the 99th percentile | 31 ms | at most 20 ms | **no** |" in parts["Figures of the battery"]
    assert "workers.training in 0.4 s, on a machine, Python 3.11." in parts["Battery"]


def test_an_adopted_version_says_so() -> None:
    assert "filter, registered in MLflow and adopted on 2026-01-01 12:00 UTC." in written(version=a_version(params={"origin": "adopted"}))


def test_names_from_outside_are_text() -> None:
    odd = "a | b\n# <script> [x](http://y) `z`"
    text = written(validation(3, dataset=odd, data_fingerprint="e" * 64), a_version(params={"dataset": odd, "note": odd}))
    assert "<script>" not in text
    assert "[x](" not in text
    assert list(sections(text)) == list(sections(written())), "no heading comes from outside"
    assert "| dataset | a \\| b # &lt;script&gt; \\[x\\](http://y) \\`z\\` |" in text
