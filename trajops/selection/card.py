"""The model card: what a version is, how it came about, what it was measured to do, and where that ends. Facts only.

The sections follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from collections.abc import Mapping, Sequence

from trajops.contracts.models import family_words
from trajops.contracts.validations import CheckOut, MeasuredOut, RankedOut, ValidationOut
from trajops.records import ModelVersion
from trajops.selection.results import ADE_BY_AGENT
from trajops.trajectories import WindowSpec

BOUND_KM = 10_000
SHOWN = {
    "val_ade_m": ("ADE", "m"),
    "val_fde_m": ("FDE", "m"),
    "val_min_ade_m": ("minADE over the modes", "m"),
    "val_min_fde_m": ("minFDE over the modes", "m"),
    "val_miss_rate": ("Miss rate", ""),
    "val_nll": ("NLL", "nats"),
    "val_coverage_50": ("Coverage of the 50 % ellipse", ""),
    "val_coverage_90": ("Coverage of the 90 % ellipse", ""),
    "val_radius_m": ("Mean radius of the 90 % ellipse", "m"),
    "val_cv_ade_m": ("ADE of constant velocity on the same windows", "m"),
    "val_latency_ms": ("Median time of one forecast, taken in training", "ms"),
    "val_latency_p95_ms": ("95th percentile of that time", "ms"),
}
# Of the run as a whole; what else is in the parameters says how the family was fitted.
DATA = ("dataset", "data_fingerprint", "scenes", "windows.fit", "windows.calibration", "windows.validation", "agents.validation")
STATES = {"passed": "passed", "failed": "**failed**", "skipped": "skipped"}
MARKS = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", ">": "&gt;", "[": "\\[", "]": "\\]", "`": "\\`"})


def card(version: ModelVersion, validation: ValidationOut, window: WindowSpec, *, is_numbered: bool = True) -> str:
    """A card in Markdown.

    Args:
        version: parameters and validation figures.
        validation: its battery, and its rank among the candidates of its run.
        window: what goes in and comes out.
        is_numbered: False before the registry has given the version its number.
    """
    number = f" v{version.model_version}" if is_numbered else ""
    made = f"{_plain(family_words(version.family))}, {_origin(version)} on {version.created_at:%Y-%m-%d %H:%M} UTC."
    model = [
        ("family", version.family),
        *_known("artefact, SHA-256", version.digest),
        *_known("training run in MLflow", version.run_id),
        *((name, value) for name, value in sorted(version.params.items()) if name not in {*DATA, "family"}),
    ]
    run = f"Run on {validation.at:%Y-%m-%d %H:%M:%S} UTC by {_plain(validation.by)} in {validation.duration_s:.1f} s"
    found = [(one.check.replace("_", " "), STATES[one.state], one.sentence) for one in validation.checks]
    parts = [
        f"# Model card: {_plain(version.model_name)}{number}",
        f"{made} **{_plain(validation.sentence)}**",
        "## Intended use and limits",
        *_use(window),
        "## Data",
        _table(("fact", "value"), [(name, version.params[name]) for name in DATA if name in version.params]),
        _seen_by_battery(version, validation),
        "## Model",
        _table(("fact", "value"), model),
        "## Accuracy on held-out agents",
        _accuracy(version, validation),
        "## Beside the other candidates",
        *_chosen(version, validation.ranking),
        "## Battery",
        f"{run}, on {_plain(validation.machine)}.",
        _table(("check", "result", "what was found"), found),
        *_details(validation.checks),
    ]
    return "\n\n".join(parts) + "\n"


def _known(name: str, value: str | None) -> Sequence[tuple[str, str]]:
    return [(name, value)] if value else []


def _origin(version: ModelVersion) -> str:
    return "registered in MLflow and adopted" if version.params.get("origin") == "adopted" else "trained"


def _use(window: WindowSpec) -> Sequence[str]:
    seen_s = (window.t_obs - 1) * window.dt_s
    what = (
        f"Short-term positions of single moving agents on a plane, in metres: {window.t_obs} positions {window.dt_s:g} s apart "
        f"({seen_s:.1f} s) in, {window.t_pred} positions to {window.horizon_s:.1f} s ahead out, each with a covariance."
    )
    limits = (
        f"- Coordinates within ±{BOUND_KM:,} km; positions that are unknown are left out, not filled.",
        "- Each agent is predicted from its own track: other agents, maps and intentions are not seen.",
        "- Figures hold for traffic like the data below. On other traffic, watch drift and live performance, and validate again.",
        f"- Nothing is said beyond {window.horizon_s:.1f} s, and a forecast is no guarantee: it is not to be the only safeguard of people.",
    )
    return what, "\n".join(limits)


def _seen_by_battery(version: ModelVersion, validation: ValidationOut) -> str:
    """Which windows the battery saw."""
    if not validation.windows:
        return "The battery had no recorded windows."
    own = version.params.get("data_fingerprint")
    is_own = bool(own) and own == validation.data_fingerprint
    whose = "the run's own held-out windows" if is_own else f"held-out windows of {_plain(validation.dataset)}"
    return f"The battery was run on {whose}: {validation.windows} windows of {validation.agents} agents that the model was not fitted on."


def _accuracy(version: ModelVersion, validation: ValidationOut) -> str:
    rows = [(name, _value(version.metrics[key], unit)) for key, (name, unit) in SHOWN.items() if key in version.metrics]
    for one in (figure for check in validation.checks for figure in check.figures if figure.name == ADE_BY_AGENT):
        if one.measured is not None and one.low is not None and one.high is not None:
            rows.insert(1, (one.name, f"{_value(one.measured, 'm')} (95 % interval {one.low:.3g} to {one.high:.3g} m)"))
    return _table(("figure", "value"), rows) if rows else "None was recorded."


def _chosen(version: ModelVersion, ranking: Sequence[RankedOut]) -> Sequence[str]:
    if not ranking:
        return ["It was not ranked: it was not trained beside other candidates."]
    mine = next((one for one in ranking if one.family == version.family), None)
    rows = [
        (
            "–" if one.rank is None else str(one.rank),
            one.family,
            "–" if one.points is None else f"{one.points:.1f}",
            *(_figure(one.figures, name) for name in ("ade_m", "nll", "coverage_90", "latency_ms", "latency_p99_ms", "size_mb")),
            one.sentence,
        )
        for one in ranking
    ]
    heads = ("rank", "family", "points", "ADE (m)", "NLL (nats)", "coverage", "time, median (ms)", "time, p99 (ms)", "size (MB)", "why")
    place = [] if mine is None else [f"Rank {mine.rank} of {len(ranking)}. {_plain(mine.sentence)}" if mine.rank else _plain(mine.sentence)]
    return [*place, _table(heads, rows)]


def _figure(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.3g}" if name in figures else "–"


def _details(checks: Sequence[CheckOut]) -> Sequence[str]:
    rows = [
        (check.check.replace("_", " "), one.name, _measured(one), _limits(one), "yes" if one.is_within else "**no**")
        for check in checks
        for one in check.figures
    ]
    return [] if not rows else ["### Figures of the battery", _table(("check", "figure", "measured", "allowed", "within"), rows)]


def _measured(one: MeasuredOut) -> str:
    if one.measured is None:
        return "not finite"
    around = f" ({one.low:.3g} to {one.high:.3g})" if one.low is not None and one.high is not None else ""
    return _value(one.measured, one.unit) + around


def _limits(one: MeasuredOut) -> str:
    unit = f" {one.unit}" if one.unit else ""
    if one.at_least is not None and one.at_most is not None:
        return f"{one.at_least:g} to {one.at_most:g}{unit}"
    if one.at_least is not None:
        return f"at least {one.at_least:g}{unit}"
    return "–" if one.at_most is None else f"at most {one.at_most:g}{unit}"


def _value(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".rstrip()


def _plain(text: str) -> str:
    """Text whose characters mean themselves."""
    return text.translate(MARKS)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        return text if text in STATES.values() or text == "**no**" else _plain(text)

    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(map(cell, row))} |" for row in rows)]
    return "\n".join(lines)
