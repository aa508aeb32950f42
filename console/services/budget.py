"""Availability, its error budget and jobs as the Services page words them. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from console.names import result_words
from console.viewmodels import job_state
from console.wording import DASH, Mark, Tone, ago, moment, seconds, share, standing_mark
from trajops.contracts.availability import AvailabilityOut, AvailabilityPoint
from trajops.contracts.figures import grouped, near_one
from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut, job_title
from trajops.contracts.status import Health, ProcessOut, StatusOut, service_title

# Of a window of which less is known, no burn rate is told.
MOSTLY = 0.5
WORST_FIRST: tuple[Health, ...] = ("bad", "warn", "unknown", "ok")


def verdict(status: StatusOut, availability: AvailabilityOut | None) -> tuple[Mark, str]:
    """How everything stands, as on the Overview; in one sentence the worst part, or what else is wrong, or how available the API was."""
    mark = standing_mark(status)
    worst = min(status.services, key=lambda service: WORST_FIRST.index(service.health), default=None)
    if worst is None:
        return mark, "No service has reported yet."
    all_work = f"All {len(status.services)} parts work" if worst.health == "ok" else ""
    if worst.health != "bad" and availability is not None and availability.verdict == "bad":
        return mark, availability.sentence
    if worst.health != "bad" and status.standing == "needs_attention":
        return mark, f"{all_work}. {status.sentence}" if all_work else status.sentence
    if worst.health != "bad" and availability is not None and availability.verdict == "warn":
        return mark, availability.sentence
    if not all_work:
        others = sum(service.health != "ok" for service in status.services) - 1
        more = f" ({others} more {'parts need' if others > 1 else 'part needs'} a look)" if others else ""
        return mark, f"{service_title(worst.service)}: {worst.detail}{more}"
    waiting = (
        f"; {'1 alert is' if status.open_alerts == 1 else f'{grouped(status.open_alerts)} alerts are'} open" if status.open_alerts else ""
    )
    told = "" if availability is None else f" {availability.sentence}"
    return mark, f"{all_work}{waiting}.{told}"


def processes_words(processes: Sequence[ProcessOut], epoch: int) -> str:
    """The processes of the API and the routes they answer by, in one sentence; empty where none has told."""
    if not processes:
        return ""
    ready = sum(process.is_ready for process in processes)
    behind = [process.epoch for process in processes if process.epoch != epoch]
    count = f"{len(processes)} process of the API, {'ready' if ready else 'not ready'}"
    if len(processes) > 1:
        count = f"{len(processes)} processes of the API, {'all' if ready == len(processes) else ready} ready"
    if not behind:
        return f"{count}; {'it answers' if len(processes) == 1 else 'all answer'} by routing epoch {epoch}"
    listed = ", ".join(str(process.epoch) for process in processes)
    return f"{count}; routing epoch by process: {listed} (newest: {epoch})"


def budget_tone(left: float | None) -> Tone:
    """Colour of what is left of the budget."""
    if left is None:
        return "unknown"
    return "bad" if left < 0 else "warn" if left < 0.25 else "ok"


def minutes(value: float) -> str:
    """A count of minutes, in the unit that reads best."""
    if value == 0:
        return "0 min"
    return seconds(round(60 * value, 1)) if value < 2 else f"{value:.0f} min" if value < 120 else seconds(60 * value)


def burn_rows(availability: AvailabilityOut) -> list[dict[str, Any]]:
    """Rows of the table of burn rates, shortest window first.

    Of a window that is mostly unknown only the least it burns is shown: by the minutes that are known, one failed probe after a start would
    be many times the pace of a month of which nearly all is left.
    """
    rows = []
    for burn in availability.burns:
        mine = [alarm for alarm in availability.alarms if burn.window_s in {alarm.long_s, alarm.short_s}]
        rate = burn.rate if burn.known_share >= MOSTLY else None
        state = (
            "✕ Burning"
            if any(alarm.is_burning for alarm in mine)
            else "○ Unknown"
            if burn.rate is None
            else "▲ Above its pace"
            if (burn.certain_rate if rate is None else rate) > 1
            else "○ Mostly unknown"
            if rate is None
            else "● Within budget"
        )
        rows.append(
            {
                "Window": seconds(burn.window_s) if burn.window_s != 86_400 * availability.window_days else f"{availability.window_days} d",
                "State": state,
                "Burn rate": rate,
                "At least": burn.certain_rate,
                "Known": known_words(burn.known_share),
                "Somebody is told above": ", ".join(f"{alarm.factor:g}" for alarm in mine) or DASH,
            }
        )
    return rows


def known_words(known_share: float) -> str:
    """Share of a window in which somebody probed; a little is not nothing, and not quite all is not all."""
    percent = 100 * known_share
    if 0 < percent < 1:
        return "under 1 %"
    return "over 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def lived_words(availability: AvailabilityOut) -> str:
    """How much of the window lies after the first probe; empty where all of it does."""
    lived_min, window_min = availability.known_min + availability.unknown_min, 1440 * availability.window_days
    if not 0 < lived_min < window_min:
        return ""
    return (
        f"The first probe was {minutes(lived_min)} ago. The budget is that of all {availability.window_days} days: what was before spends "
        "nothing of it."
    )


def unknown_spans(points: Sequence[AvailabilityPoint], width: timedelta) -> list[tuple[datetime, datetime]]:
    """Stretches in which nobody probed, from begin to end."""
    spans: list[tuple[datetime, datetime]] = []
    for point in points:
        if point.availability is not None:
            continue
        if spans and spans[-1][1] == point.at:
            spans[-1] = (spans[-1][0], point.at + width)
        else:
            spans.append((point.at, point.at + width))
    return spans


# Jobs


def due_words(job: JobOut, now: datetime) -> str:
    """When a job is due next."""
    if job.paused_at is not None:
        return "paused"
    if job.last_run is not None and job.last_run.state == "running":
        return "running now"
    if job.next_due_at is None:
        return DASH
    wait_s = (job.next_due_at - now).total_seconds()
    if wait_s < 1:
        return "now" if not job.is_late else f"{seconds(float(int(-wait_s)))} overdue"
    return f"in {seconds(float(int(wait_s)))}".replace(".0 s", " s")


def job_table(jobs: Sequence[JobOut], now: datetime) -> list[dict[str, Any]]:
    """Rows of the table of jobs: what needs a look comes first."""
    order = {"✕ Failed": 0, "▲ Late": 1, "‖ Paused": 2}
    return [
        {
            "Job": job_title(job.job),
            "State": job_state(job),
            "Last run": ago(job.last_run.started_at, now) if job.last_run else "never",
            "Duration": seconds(job.last_run.duration_s) if job.last_run else DASH,
            "Next due": due_words(job, now),
            "Last success": ago(job.last_success_at, now),
            "Every": f"{job.cron} UTC" if job.cron else seconds(job.every_s),
            "What it does": job.description,
        }
        for job in sorted(jobs, key=lambda job: (order.get(job_state(job), 3), job_title(job.job)))
    ]


def job_sentence(told: JobRunsOut, now: datetime) -> str:
    """How a job stands, in words."""
    job = told.job
    if job.paused_at is not None:
        return f"Paused by {job.paused_by} {ago(job.paused_at, now)}: {job.pause_reason}. It runs by hand only."
    if not told.runs:
        return "It has not run yet."
    parts = []
    if job.is_late:
        parts.append(f"late: its last success was {ago(job.last_success_at, now)}")
    if told.holder is not None:
        parts.append(f"running now on {told.holder.partition(':')[0]}")
    if told.success_share is not None:
        parts.append(f"{share(told.success_share, 0)} of the last {len(told.runs)} runs succeeded")
    if told.duration_p50_s is not None and told.duration_p95_s is not None:
        parts.append(f"half of them took {seconds(told.duration_p50_s)} or less, 95 % {seconds(told.duration_p95_s)} or less")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def run_rows(runs: Sequence[JobRunOut]) -> list[dict[str, Any]]:
    """Rows of the history of one job, newest first."""
    marks = {"running": "◌ Running", "succeeded": "● Succeeded", "failed": "✕ Failed"}
    return [
        {
            "Began (UTC)": run.started_at.astimezone(UTC).replace(tzinfo=None),
            "State": marks[run.state],
            "Duration": seconds(run.duration_s),
            "Result": run.error or ("" if run.state == "running" else result_words(run.job, run.result)),
            "Worker": run.holder,
            "Run": run.run_id,
        }
        for run in runs
    ]


def failure_words(availability: AvailabilityOut) -> str:
    """The newest probe that was not answered well; empty where there is none on record."""
    if availability.last_failure is None or availability.last_failure_at is None:
        return ""
    return f"Last bad answer {moment(availability.last_failure_at)}: {availability.last_failure}"


def availability_words(value: float | None) -> str:
    """A share near one, with the digits that matter."""
    return DASH if value is None else near_one(value)
