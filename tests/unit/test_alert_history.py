"""Bars of alerts over time, the steps of one alert, and what was changed before it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.alerts import charts as alert_charts
from console.alerts.history import MAX_LANES, MAX_SPANS, alert_spans, is_cut, linked_changes, reaches_back, steps
from console.palette import DARK, LIGHT
from tests.builders import an_alert
from trajops.contracts.alerts import AlertDetailOut, AlertEvent, AlertOut
from trajops.contracts.audit import AuditOut

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
BEGIN = NOW - timedelta(hours=1)


def minutes(n: float) -> datetime:
    return NOW - timedelta(minutes=n)


def ended(alert_id: str, begun: float, over: float, **given: Any) -> AlertOut:
    return an_alert(alert_id, minutes(begun), state="resolved", resolved_at=minutes(over), **given)


# Bars


def test_bars_reach_from_opening_to_end_within_the_range() -> None:
    given = [an_alert("on", minutes(90)), ended("past", 40, 30, labels={"job": "prune"}), ended("before", 99, 70)]
    one, other = alert_spans(given, BEGIN, NOW)
    assert (one.lane, one.since, one.until, one.is_over) == ("A job is late", BEGIN, NOW, False)
    assert (other.lane, other.since, other.until, other.is_over) == ("A job is late (prune)", minutes(40), minutes(30), True)


def test_pending_alerts_and_those_of_an_alertmanager_have_no_bar() -> None:
    given = [an_alert("soon", state="pending", opened_at=None), an_alert("theirs", origin="alertmanager", version=0)]
    assert alert_spans(given, BEGIN, NOW) == []
    assert not is_cut(given, [], BEGIN)


def test_only_the_newest_lanes_and_bars_are_drawn() -> None:
    many = [an_alert(f"a{i}", minutes(50 - i), labels={"job": f"j{i}"}) for i in range(MAX_LANES + 3)]
    spans = alert_spans(many, BEGIN, NOW)
    assert [span.lane for span in spans] == [f"A job is late (j{i})" for i in range(3, MAX_LANES + 3)]
    assert is_cut(many, spans, BEGIN)
    often = [ended(f"b{i}", 59 - i / 10, 58.95 - i / 10) for i in range(MAX_SPANS + 5)]
    spans = alert_spans(often, BEGIN, NOW)
    assert len(spans) == MAX_SPANS
    assert spans[-1].since == often[-1].opened_at


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_severities_differ_by_colour_pattern_and_name(palette: Any) -> None:
    given = [an_alert(s, minutes(20), severity=s, title=s) for s in ("info", "critical", "warning")]
    figure = alert_charts.alert_timeline(alert_spans(given, BEGIN, NOW), BEGIN, NOW, palette)
    assert [trace.name for trace in figure.data] == ["Critical", "Warning", "Info"]
    assert len({trace.marker.pattern.shape for trace in figure.data}) == 3
    assert [trace.marker.line.color for trace in figure.data] == [palette.bad, palette.warn, palette.info]
    assert list(figure.layout.xaxis.range) == [BEGIN.replace(tzinfo=None), NOW.replace(tzinfo=None)]
    assert "UTC" in figure.layout.xaxis.title.text


def test_a_bar_is_as_long_as_the_alert_and_the_newest_lane_is_on_top() -> None:
    given = [an_alert("old", minutes(40), title="Old"), ended("new", 10, 5, title="A title that is much too long for a lane of a figure")]
    figure = alert_charts.alert_timeline(alert_spans(given, BEGIN, NOW), BEGIN, NOW, LIGHT)
    [bars] = figure.data
    assert list(bars.x) == [40 * 60_000, 5 * 60_000]
    assert list(bars.base) == [minutes(40).replace(tzinfo=None), minutes(10).replace(tzinfo=None)]
    assert figure.layout.yaxis.categoryarray[0] == "Old"
    assert max(len(text) for text in figure.layout.yaxis.ticktext) <= 34
    assert bars.customdata[0][0].endswith("– now")


# Steps


def detail(*events: AlertEvent) -> AlertDetailOut:
    return AlertDetailOut(alert=an_alert(), events=list(events))


def test_steps_are_in_order_with_the_time_between_them() -> None:
    found = steps(
        detail(
            AlertEvent(at=NOW + timedelta(minutes=3), kind="acknowledged", actor="ada", text="I look at it."),
            AlertEvent(at=NOW, kind="fired", actor="rules", text="It is >= 1."),
            AlertEvent(at=NOW + timedelta(seconds=2), kind="undelivered", actor="delivery", text="slack could not be told."),
            AlertEvent(at=NOW + timedelta(days=1), kind="resolved", actor="rules", text="It is not any more."),
        )
    )
    assert [s.word for s in found] == ["Fired", "Not delivered", "Acknowledged", "Resolved"]
    assert [s.at for s in found] == ["2026-11-24 03:00:00 UTC", "03:00:02 UTC", "03:03:00 UTC", "2026-11-25 03:00:00 UTC"]
    assert [s.after for s in found] == ["", "2 s later", "3 min later", "24 h later"]
    assert [s.actor for s in found] == ["the rules", "the delivery", "ada", "the rules"]
    assert [s.is_message for s in found] == [False, True, False, False]


@pytest.mark.parametrize("kind", AlertEvent.model_fields["kind"].annotation.__args__)
def test_every_kind_of_event_has_words(kind: str) -> None:
    [step] = steps(detail(AlertEvent(at=NOW, kind=kind, actor="rules", text="")))
    assert step.word
    assert "_" not in step.word


# What was changed before


def entry(before_min: float, action: str = "deployment.promote", audit_id: str = "a1") -> AuditOut:
    return AuditOut(
        audit_id=audit_id, at=minutes(before_min), actor="ada", action=action, subject="trajectory/3", reason="it wins", before={}, after={}
    )


def test_changes_of_the_half_hour_before_are_linked_newest_first() -> None:
    given = [entry(29), entry(-1), entry(0), entry(31), entry(5, "drift.began"), entry(2, "alert.fired"), entry(3, "silence.create")]
    found = linked_changes(given, an_alert(at=NOW))
    assert [(c.words, c.before, c.is_release) for c in found] == [
        ("Promoted v3", "a moment before", True),
        ("Drift began", "5 min before", False),
        ("Promoted v3", "29 min before", True),
    ]


def test_an_audit_that_was_cut_off_is_not_called_empty() -> None:
    assert reaches_back([], 2, an_alert(at=NOW))
    assert reaches_back([entry(1)], 2, an_alert(at=NOW))
    assert reaches_back([entry(1), entry(31)], 2, an_alert(at=NOW))
    assert not reaches_back([entry(1), entry(29)], 2, an_alert(at=NOW))
