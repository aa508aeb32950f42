"""The alerts of the stub API: what is firing, answers, silences, messages and receivers, and what may be done with them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from console_stub.refusal import Refused
from tests.builders import an_alert
from trajops.contracts.alerts import (
    AlertCounts,
    AlertDetailOut,
    AlertEvent,
    AlertmanagerOut,
    AlertOut,
    AlertRuleOut,
    AlertRulesOut,
    AlertsOut,
    MatcherIn,
    NotificationOut,
    NotificationsOut,
    ReceiverOut,
    ReceiversOut,
    SilenceOut,
    SilencesOut,
)
from trajops.contracts.answers import AnswerOut, AnswersOut


class StubAlerts:
    """State of a plausible bad morning; empty for a product that has just been installed.

    Attributes:
        is_evaluated: whether the rules are looked at now.
        alertmanager: what an Alertmanager said; None where none is set.
        overtaken_by: who changes the alert, or decides on the proposal, before the next change of anybody else arrives.
    """

    def __init__(self, started: datetime, *, is_empty: bool) -> None:
        self.started = started
        self.is_empty = is_empty
        self.is_evaluated = not is_empty
        self.alertmanager: AlertmanagerOut | None = None
        self.overtaken_by: str | None = None
        self.alerts: dict[str, AlertOut] = {}
        self.events: dict[str, list[AlertEvent]] = {}
        self.answers: list[AnswerOut] = []
        self.silences: list[SilenceOut] = []
        self.notifications: list[NotificationOut] = []
        self.receivers: list[ReceiverOut] = []
        if not is_empty:
            self._fill()

    def _fill(self) -> None:
        def at(minutes: float) -> datetime:
            return self.started - timedelta(minutes=minutes)

        found = [
            an_alert("drift-1", at(38), rule="drift", title="Traffic has drifted", severity="critical", value=2.0, condition=">= 2",
                     summary="4 of 6 columns drifted in the last 2 checks; speed (m/s) is furthest.",
                     detail="The threshold of speed (m/s) is 0.100; the newest check says 0.165.", told=["mail", "slack"],
                     runbook="https://github.com/example/trajops/blob/main/docs/runbook.md#drift", escalated_at=at(22)),
            an_alert("late-1", at(14), rule="job_late", title="A job is late", labels={"job": "reconcile_aliases"}, value=412.0,
                     condition="> 180", summary="“Match the registry” has not succeeded for 412 s.", told=["mail"]),
            an_alert("late-2", at(9), rule="job_late", title="A job is late", labels={"job": "check_drift"}, value=920.0,
                     condition="> 900", summary="“Check for drift” has not succeeded for 920 s.", silence_id="sil-1"),
            an_alert("slow-1", at(50), rule="latency_p95", title="Answers are slow", state="acknowledged", version=3, value=0.0121,
                     condition="> 0.01", summary="95 % of the answers took up to 12.1 ms in the last 5 minutes; the budget is 10 ms.",
                     labels={"model_version": "3"}, acknowledged_at=at(41), acknowledged_by="ben", assigned_to="ben", told=["mail"]),
            an_alert("mem-1", at(3), rule="HostMemory", title="HostMemory", origin="external", severity="info", value=None, condition=None,
                     labels={"instance": "node-2:9100"}, summary="Memory of node-2 is nearly used up.",
                     link="http://prometheus.example:9090/graph"),
            an_alert("pend-1", at(0.3), rule="error_rate", title="Answers fail", state="pending", value=0.013, condition="> 0.01",
                     summary="1.3 % of the answers were errors in the last minute.", opened_at=None),
            *(
                an_alert(f"past-{i}", at(30 + 25 * i), rule="job_failed", title="A job failed", labels={"job": job}, state="resolved",
                         resolved_at=at(26 + 24.5 * i), resolved_by="rules", summary=f"The last run of {job} failed.", told=["mail"])
                for i, job in enumerate(("compact_lake", "join_truth", "compact_lake"))
            ),
        ]  # fmt: skip
        self.alerts = {alert.alert_id: alert for alert in found}
        held = "Its condition held for long enough."
        self.events = {alert.alert_id: [event(alert.started_at, "fired", "rules", held)] for alert in found}
        self.events["drift-1"] += [
            event(at(37.9), "notified", "delivery", "mail was told.", receiver="mail"),
            event(at(37.8), "undelivered", "delivery", "slack was not told: HTTP 500 after 8 tries.", receiver="slack"),
            event(at(22), "escalated", "rules", "Nobody had acknowledged it for 15 min; slack is told too.", receiver="slack"),
            event(at(21.9), "notified", "delivery", "slack was told.", receiver="slack"),
        ]
        seen = {"candidate_ade_m": 0.712, "incumbent_ade_m": 0.604, "agents": 34}
        self.answers = [
            an_answer("ans-2", self.alerts["slow-1"], "slow_version", at(49), "proposed", [("pause_rollout", "pending", "", {}, None),
                      ("rollback", "pending", "", {}, None)]),
            an_answer("ans-1", self.alerts["drift-1"], "traffic_has_changed", at(37.5), "working", [
                ("pause_rollout", "done", "the canary of v3 is paused", {"model_version": 3}, at(37.4)),
                ("rollback", "refused", "going back would not help; v1 against v2: ADE 0.71 m against 0.60 m on 96 windows of 34 agents",
                 seen, at(36)),
                ("retrain", "waiting", "41 of 60 agents seen since, to train on", {}, at(35)),
            ]),
        ]  # fmt: skip
        self.silences = [
            a_silence("sil-1", [("rule", "=", "job_late"), ("job", "=", "check_drift")], at(9), at(-111), "in_force", 1),
            a_silence("sil-2", [("severity", "=~", "info|warning")], at(-600), at(-720), "waiting", 0),
            a_silence("sil-3", [("rule", "=", "latency_p95")], at(900), at(780), "over", 0),
        ]
        self.notifications = [
            a_notification("not-3", "mail", "Warning: A job is late", "delivered", at(14), attempts=2, severity="warning"),
            a_notification("not-1", "slack", "Critical: Traffic has drifted", "dead", at(37), attempts=8, error="HTTP 500 from Slack"),
            a_notification("not-2", "mail", "Critical: Traffic has drifted", "delivered", at(38), attempts=1),
        ]
        self.receivers = [
            ReceiverOut(name="mail", kind="email", target="ops@example.org", is_ready=True, detail="", last_delivered_at=at(14),
                        last_error=None, dead_letters=0),
            ReceiverOut(name="slack", kind="slack", target="#trajops", is_ready=True, detail="", last_delivered_at=at(21),
                        last_error="HTTP 500 from Slack", dead_letters=1),
            ReceiverOut(name="pager", kind="alertmanager", target="", is_ready=False,
                        detail="Set TRAJOPS_ALERTMANAGER_URL to the address of an Alertmanager.", last_delivered_at=None, last_error=None,
                        dead_letters=0),
        ]  # fmt: skip

    # What it answers

    def readers(self) -> dict[str, Callable[..., BaseModel]]:
        return {
            "/v1/alerts": self.listed,
            "/v1/alerts/rules": self.rules,
            "/v1/alerts/receivers": lambda **_: ReceiversOut(receivers=self.receivers),
            "/v1/alerts/silences": lambda **_: SilencesOut(silences=self.silences),
            "/v1/alerts/notifications": lambda state=None, **_: NotificationsOut(
                notifications=[n for n in self.notifications if state in {None, n.state}]
            ),
        }

    def read(self, path: str, query: dict[str, str]) -> BaseModel:
        if path in self.readers():
            return self.readers()[path](**query)
        wanted = path.rsplit("/", 1)[1]
        if path.startswith("/v1/alerts/notifications/"):
            return next(n for n in self.notifications if n.notification_id == wanted)
        if wanted not in self.alerts:
            raise Refused(404, "not_found", f"there is no alert {wanted}")
        return AlertDetailOut(alert=self.alerts[wanted], events=self.events[wanted])

    def listed(
        self, state: str | None = None, severity: str | None = None, rule: str | None = None, since: str | None = None, limit: str = "200"
    ) -> AlertsOut:
        begin = datetime.fromisoformat(since) if since else None
        active = [a for a in self.alerts.values() if a.state in {"open", "acknowledged"}]
        shown = [
            a
            for a in self.alerts.values()
            if (a.state == state or (state is None and a.state != "pending") or (state == "active" and a in active))
            and severity in {None, a.severity}
            and rule in {None, a.rule}
            and (begin is None or a.resolved_at is None or a.resolved_at >= begin)
        ]
        shown.sort(key=lambda a: (a.state == "resolved", -(a.resolved_at.timestamp() if a.resolved_at else a.severity.rank), a.started_at))
        own = [a for a in active if a.origin != "alertmanager"]
        return AlertsOut(
            alerts=shown[: int(limit)],
            counts=AlertCounts(
                open=sum(a.state == "open" for a in own),
                acknowledged=sum(a.state == "acknowledged" for a in own),
                silenced=sum(a.is_silenced for a in own),
                pending=sum(a.state == "pending" for a in self.alerts.values()),
                resolved_today=sum(a.state == "resolved" for a in self.alerts.values()),
                by_severity={s: sum(a.severity == s for a in own) for s in ("critical", "warning", "info")},
                dead_letters=sum(n.state == "dead" for n in self.notifications),
            ),
            evaluated_at=None if self.is_empty else datetime.now(UTC) - timedelta(seconds=3 if self.is_evaluated else 720),
            is_evaluated=self.is_evaluated,
            alertmanager=self.alertmanager,
        )

    def rules(self, **_: Any) -> AlertRulesOut:
        given = [
            ("drift", "Traffic has drifted", "drift_level", ">= 2", "critical", 0.0),
            ("job_late", "A job is late", "job_late", ">= 1", "warning", 30.0),
            ("latency_p95", "Answers are slow", "latency_p95_s", "> 0.01", "warning", 300.0),
        ]
        rules = [
            AlertRuleOut(name=name, title=title, signal=signal, condition=condition, severity=severity, for_s=for_s, resolve_after_s=60.0,
                         receivers=["mail", "slack"] if severity == "critical" else ["mail"],
                         runbook=f"/runbook#{name}",
                         active=sum(a.rule == name and a.state != "resolved" for a in self.alerts.values()))
            for name, title, signal, condition, severity, for_s in given
        ]  # fmt: skip
        return AlertRulesOut(rules=[] if self.is_empty else rules, file="configs/alerts.yaml")

    # What it changes

    def post(self, path: str, body: dict[str, Any], username: str) -> BaseModel:
        parts = path.removeprefix("/v1/alerts/").split("/")
        if parts[0] == "silences":
            return self.silence(body, username) if len(parts) == 1 else self.expire(parts[1])
        if parts[0] == "receivers":
            made = a_notification(f"not-{len(self.notifications) + 1}", parts[1], "A test", "pending", datetime.now(UTC), occasion="test")
            self.notifications.insert(0, made)
            return made
        if parts[0] == "notifications":
            place = next(i for i, n in enumerate(self.notifications) if n.notification_id == parts[1])
            self.notifications[place] = NotificationOut.model_validate({**self.notifications[place].model_dump(), "state": "pending"})
            return self.notifications[place]
        alert_id, change = parts
        if self.overtaken_by is not None:
            by, self.overtaken_by = self.overtaken_by, None
            self.change(alert_id, "acknowledge", {"reason": "I am on it already"}, by)
        if self.alerts[alert_id].version != body["expected_version"]:
            raise Refused(409, "stale_version", f"alert {alert_id} has not version {body['expected_version']} any more")
        return self.change(alert_id, change, body, username)

    def change(self, alert_id: str, change: str, body: dict[str, Any], username: str) -> AlertOut:
        now, alert = datetime.now(UTC), self.alerts[alert_id]
        update: dict[str, Any] = {
            "acknowledge": {"state": "acknowledged", "acknowledged_at": now, "acknowledged_by": username},
            "resolve": {"state": "resolved", "resolved_at": now, "resolved_by": username},
            "assign": {"assigned_to": body.get("assignee")},
        }[change]
        self.alerts[alert_id] = AlertOut.model_validate({**alert.model_dump(), **update, "version": alert.version + 1, "updated_at": now})
        kinds = {"acknowledge": "acknowledged", "resolve": "resolved", "assign": "assigned"}
        self.events[alert_id].append(event(now, kinds[change], username, body["reason"]))
        return self.alerts[alert_id]

    def answered(self, alert_id: str | None = None, limit: str = "50") -> AnswersOut:
        return AnswersOut(answers=[a for a in self.answers if alert_id in {None, a.alert_id}][: int(limit)])

    def decide(self, path: str, body: dict[str, Any], username: str) -> AnswerOut:
        _, _, _, answer_id, decision = path.split("/")
        if self.overtaken_by is not None:
            by, self.overtaken_by = self.overtaken_by, None
            self.decide(path.replace(decision, "dismiss"), body, by)
        place = next(i for i, a in enumerate(self.answers) if a.answer_id == answer_id)
        answer = self.answers[place]
        if answer.version != body["expected_version"]:
            raise Refused(409, "stale_version", f"the answer {answer_id} has not version {body['expected_version']} any more")
        state = "working" if decision == "approve" else "dismissed"
        update = {"state": state, "decided_by": username, "version": answer.version + 1, "updated_at": datetime.now(UTC)}
        self.answers[place] = AnswerOut.model_validate({**answer.model_dump(), **update})
        return self.answers[place]

    def silence(self, body: dict[str, Any], username: str) -> SilenceOut:
        now = datetime.now(UTC)
        matchers = [MatcherIn.model_validate(m) for m in body["matchers"]]
        starts_at = datetime.fromisoformat(body["starts_at"]) if body.get("starts_at") else now
        held = [
            a
            for a in self.alerts.values()
            if a.state in {"open", "acknowledged"}
            and all(m.matcher().matches({**a.labels, "rule": a.rule, "severity": a.severity, "origin": a.origin}) for m in matchers)
        ]
        made = SilenceOut(
            silence_id=f"sil-{len(self.silences) + 1}", matchers=matchers, state="in_force" if starts_at <= now else "waiting",
            starts_at=starts_at, ends_at=datetime.fromisoformat(body["ends_at"]), created_at=now, created_by=username,
            reason=body["reason"], alerts=len(held),
        )  # fmt: skip
        self.silences.insert(0, made)
        for alert in held if made.state == "in_force" else []:
            self.alerts[alert.alert_id] = alert.model_copy(update={"silence_id": made.silence_id, "is_silenced": True})
        return made

    def expire(self, silence_id: str) -> SilenceOut:
        place = next(i for i, s in enumerate(self.silences) if s.silence_id == silence_id)
        self.silences[place] = self.silences[place].model_copy(update={"state": "over", "ends_at": datetime.now(UTC), "alerts": 0})
        return self.silences[place]


def event(at: datetime, kind: str, actor: str, text: str, receiver: str | None = None) -> AlertEvent:
    return AlertEvent.model_validate({"at": at, "kind": kind, "actor": actor, "text": text, "receiver": receiver})


def an_answer(
    answer_id: str,
    alert: AlertOut,
    rule: str,
    created_at: datetime,
    state: str,
    steps: list[tuple[str, str, str, dict[str, Any], datetime | None]],
) -> AnswerOut:
    names = ("action", "state", "sentence", "result", "at")
    return AnswerOut.model_validate(
        {
            "answer_id": answer_id,
            "rule": rule,
            "alert_id": alert.alert_id,
            "alert_title": alert.title,
            "labels": alert.labels,
            "alert_opened_at": alert.opened_at,
            "state": state,
            "version": 1,
            "created_at": created_at,
            "updated_at": created_at,
            "steps": [dict(zip(names, step, strict=True)) for step in steps],
            "decided_by": None,
        }
    )


def a_silence(
    silence_id: str, matchers: list[tuple[str, str, str]], starts_at: datetime, ends_at: datetime, state: str, alerts: int
) -> SilenceOut:
    return SilenceOut.model_validate(
        {
            "silence_id": silence_id,
            "matchers": [{"label": label, "operator": operator, "value": value} for label, operator, value in matchers],
            "state": state,
            "starts_at": starts_at,
            "ends_at": ends_at,
            "created_at": min(starts_at, datetime.now(UTC)),
            "created_by": "ben",
            "reason": "the registry is being moved",
            "alerts": alerts,
        }
    )


def a_notification(notification_id: str, receiver: str, title: str, state: str, at: datetime, **given: Any) -> NotificationOut:
    values: dict[str, Any] = {"occasion": "fired", "severity": "critical", "attempts": 0, "error": None, **given}
    return NotificationOut.model_validate(
        {
            "notification_id": notification_id,
            "receiver": receiver,
            "title": title,
            "group": {},
            "alert_ids": [] if values["occasion"] == "test" else ["drift-1"],
            "state": state,
            "created_at": at,
            "next_attempt_at": at,
            "delivered_at": at + timedelta(seconds=1) if state == "delivered" else None,
            **values,
        }
    )
