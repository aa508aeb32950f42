"""Training runs in words: names, data, figures, and how they compare with a baseline. Pure."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from console.wording import DASH, Mark, Tone, metres, number, seconds, share
from trajops.contracts.models import family_words
from trajops.contracts.runs import RunOut

SHOWN_DIGITS = 6
LONGEST = 60
# A word that no line of a table can break.
LONGEST_WORD = 18
# Parameters that stand above the others under names of their own.
TOLD_ABOVE = {"dataset", "git_commit", "family"}
STATUSES = ("finished", "running", "scheduled", "failed", "killed")
_STATUSES: dict[str, Mark] = {
    "finished": Mark("Finished", "ok", "check_circle"),
    "running": Mark("Running", "info", "hourglass_top"),
    "scheduled": Mark("Scheduled", "unknown", "schedule"),
    "failed": Mark("Failed", "bad", "error"),
    "killed": Mark("Stopped", "warn", "block"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of validation.

    Attributes:
        key: its name in a run.
        title: with its unit.
        digits: after the point.
        better: which way is better; None: neither.
        nominal: what is aimed at, where nearer is better.
        about: what it is, for who does not know.
    """

    key: str
    title: str
    digits: int
    better: Literal["lower", "nearer"] | None
    about: str
    nominal: float = 0.0


FIGURES = (
    Figure("val_ade_m", "ADE (m)", 3, "lower", "mean distance between forecast and truth"),
    Figure("val_fde_m", "FDE (m)", 3, "lower", "distance at the last step"),
    Figure("val_min_ade_m", "minADE (m)", 3, "lower", "ADE of the best mode"),
    Figure("val_miss_rate", "Miss rate", 3, "lower", "share that ends too far from the truth"),
    Figure("val_nll", "NLL (nats)", 3, "lower", "negative log-likelihood of the truth"),
    Figure("val_coverage_50", "Coverage of 50 %", 3, "nearer", "share of the truth inside ellipses of 50 %", 0.5),
    Figure("val_coverage_90", "Coverage of 90 %", 3, "nearer", "share of the truth inside ellipses of 90 %", 0.9),
    Figure("val_radius_m", "Radius (m)", 3, None, "mean radius of the ellipses of 90 %"),
    Figure("val_latency_ms", "Time of one forecast (ms)", 3, "lower", "median, on the machine that trained"),
    Figure("val_latency_p95_ms", "Slow forecasts (ms)", 3, "lower", "95 of 100 take less time, on the machine that trained"),
    Figure("fit_s", "Time to fit (s)", 1, None, "on the machine that trained"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of one run, and how it compares with the baseline's.

    Attributes:
        text: the value.
        words: better, worse, same; empty where there is nothing to say.
        tone: ok when better, bad when worse.
    """

    text: str
    words: str = ""
    tone: Tone = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure or parameter of all runs that are compared."""

    title: str
    cells: Sequence[Cell]
    about: str = ""

    @property
    def differs(self) -> bool:
        """Whether the runs do not all have the same."""
        return len({cell.text for cell in self.cells}) > 1


def status_mark(run: RunOut) -> Mark:
    """Where a run stands."""
    return _STATUSES.get(run.status, Mark(run.status.capitalize(), "unknown", "help"))


def status_words(status: str) -> str:
    """A status as it is read."""
    return _STATUSES[status].word if status in _STATUSES else status


def label(run: RunOut) -> str:
    """What a run is called, told from all others: its version, or the start of its id."""
    kind = family_words(run.family) if run.family else run.name
    if run.model_versions:
        return f"{', '.join(f'v{one}' for one in run.model_versions)} {kind}"
    return f"{kind} {run.run_id[:SHOWN_DIGITS]}"


def fit_words(run: RunOut) -> str | None:
    """How long it took: to fit where the run says so, else from its begin to its end."""
    if "fit_s" in run.metrics:
        return f"fitted in {seconds(run.metrics['fit_s'])}"
    return None if run.duration_s is None else f"took {seconds(run.duration_s)}"


def data_words(run: RunOut, runs: Sequence[RunOut] = ()) -> str:
    """What a run was validated on: the name of the tracks, of a run on the same ones, or the start of the fingerprint."""
    if run.dataset:
        return run.dataset
    same = next((other.dataset for other in runs if other.dataset and is_comparable(run, other)), None)
    mark = _fingerprint(run)
    return same or (f"tracks {mark[:SHOWN_DIGITS]}" if mark else "unknown tracks")


def is_comparable(one: RunOut, other: RunOut) -> bool:
    """Whether two runs are known to have been validated on the same windows of the same tracks."""
    return one.run_id == other.run_id or (bool(_fingerprint(one)) and _fingerprint(one) == _fingerprint(other))


def verdict(runs: Sequence[RunOut], *, has_more: bool, is_filtered: bool) -> str:
    """How many runs there are, and which is the best of those on the newest data."""
    registered = sum(bool(run.model_versions) for run in runs)
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    begin = f"{'The newest ' if has_more else ''}{count}{' match the filters' if is_filtered else ''}"
    begin += f", {'all' if registered == len(runs) else registered} of them registered" if registered else ""
    measured = [run for run in runs if "val_ade_m" in run.metrics]
    if not measured:
        return f"{begin}; none has been validated yet."
    comparable = [run for run in measured if is_comparable(run, measured[0])]
    best = min(comparable, key=lambda run: run.metrics["val_ade_m"])
    return f"{begin}. Best ADE on {data_words(best, runs)}: {label(best)}, {metres(best.metrics['val_ade_m'], 3)}."


def figure_lines(runs: Sequence[RunOut], baseline: RunOut) -> list[Line]:
    """One line a figure, one cell a run; better and worse are against the baseline, and only where the data are the same."""
    found = []
    for figure in FIGURES:
        if not any(figure.key in run.metrics for run in runs):
            continue
        found.append(Line(figure.title, [_judged(figure, run, baseline) for run in runs], figure.about))
    known = {figure.key for figure in FIGURES}
    foreign = sorted({name for run in runs for name in run.metrics if name not in known and not name.startswith("val_")})
    return found + [Line(name, [Cell(number(run.metrics.get(name), 4)) for run in runs]) for name in foreign[:20]]


def parameter_lines(runs: Sequence[RunOut]) -> list[Line]:
    """One line a parameter, and what else was not the same: data, commit, how long it took."""
    told: list[tuple[str, Callable[[RunOut], str]]] = [
        ("Data", lambda run: data_words(run, runs)),
        ("Commit", lambda run: (run.commit or DASH)[: SHOWN_DIGITS + 2]),
    ]
    lines = [Line(name, [Cell(read(run)) for run in runs]) for name, read in told]
    names = sorted({name for run in runs for name in run.params} - TOLD_ABOVE)
    return lines + [Line(name, [Cell(_shortened(run.params.get(name, DASH))) for run in runs]) for name in names]


def comparison_csv(runs: Sequence[RunOut], baseline: RunOut, lines: Sequence[Line]) -> str:
    """The lines that are shown as CSV: what, one column a run, and one for the words about each but the baseline."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    others = [run for run in runs if run.run_id != baseline.run_id]
    writer.writerow(["", *(_safe(label(run)) for run in runs), *(_safe(f"{label(run)} against the baseline") for run in others)])
    writer.writerow(["Run", *(run.run_id for run in runs), *("" for _ in others)])
    for line in lines:
        said = [cell.words for cell, run in zip(line.cells, runs, strict=True) if run.run_id != baseline.run_id]
        writer.writerow([_safe(line.title), *(_safe(cell.text) for cell in line.cells), *said])
    return out.getvalue()


def _judged(figure: Figure, run: RunOut, baseline: RunOut) -> Cell:
    new, old = run.metrics.get(figure.key), baseline.metrics.get(figure.key)
    text = number(new, figure.digits)
    if run.run_id == baseline.run_id or new is None or figure.better is None:
        return Cell(text)
    if not is_comparable(run, baseline):
        return Cell(text, "other data")
    if old is None:
        return Cell(text)
    gain = old - new if figure.better == "lower" else abs(old - figure.nominal) - abs(new - figure.nominal)
    if abs(gain) < 0.5 * 10**-figure.digits:
        return Cell(text, "same")
    word = ("nearer" if gain > 0 else "further") if figure.better == "nearer" else ("better" if gain > 0 else "worse")
    ratio = abs(gain / old) if figure.better == "lower" and abs(old) > 1e-9 else None
    amount = f"{abs(gain):.{figure.digits}f}" if ratio is None else share(ratio, 0 if ratio >= 0.1 else 1)
    return Cell(text, f"{amount} {word}", "ok" if gain > 0 else "bad")


def _shortened(text: str) -> str:
    """A value that a column has room for: long texts and long words end in an ellipsis."""
    words = [word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…" for word in text.split(" ")]
    whole = " ".join(words)
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"


def _safe(text: str) -> str:
    """A text that no table program takes for a formula."""
    is_number = text.replace(".", "", 1).lstrip("-").isdigit()
    return f"'{text}" if text[:1] in "=+-@\t\r" and text[:1] and not is_number else text


def _fingerprint(run: RunOut) -> str:
    return (run.data_fingerprint or "").removeprefix("sha256:")
