"""Alerts, silences, receivers, notifications and answers."""

from datetime import datetime
from typing import Literal

from trajops.client.call import Call, at, described, get, iso, post
from trajops.client.retries import Retry
from trajops.contracts.alerts import (
    AlertChangeIn,
    AlertDetailOut,
    AlertOut,
    AlertRulesOut,
    AlertsOut,
    AssignIn,
    ExpireSilenceIn,
    NotificationOut,
    NotificationsOut,
    ReceiversOut,
    ResendIn,
    SilenceIn,
    SilenceOut,
    SilencesOut,
    TestReceiverIn,
)
from trajops.contracts.answers import AnswerDecisionIn, AnswerOut, AnswersOut


class AlertRoutes:
    """Alerts, silences, receivers, notifications and answers."""

    @described
    def alerts(
        self,
        state: Literal["active", "pending", "open", "acknowledged", "resolved"] | None = None,
        severity: Literal["info", "warning", "critical"] | None = None,
        rule: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Call[AlertsOut]:
        """Alerts, those that are not over first; `since` leaves out those that were resolved before."""
        return get("/v1/alerts", AlertsOut, state=state, severity=severity, rule=rule, since=iso(since), limit=limit)

    @described
    def alert(self, alert_id: str) -> Call[AlertDetailOut]:
        """One alert with what happened to it."""
        return get(at("/v1/alerts/{}", alert_id), AlertDetailOut)

    @described
    def acknowledge_alert(self, alert_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[AlertOut]:
        """Say that somebody looks after it: it is neither repeated nor escalated any more."""
        body = AlertChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/alerts/{}/acknowledge", alert_id), AlertOut, body, Retry.KEYED, idempotency_key)

    @described
    def resolve_alert(self, alert_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[AlertOut]:
        """End an alert by hand; if its condition holds on, it comes again as another one."""
        body = AlertChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/alerts/{}/resolve", alert_id), AlertOut, body, Retry.KEYED, idempotency_key)

    @described
    def assign_alert(
        self, alert_id: str, expected_version: int, assignee: str | None, reason: str, *, idempotency_key: str | None = None
    ) -> Call[AlertOut]:
        """Say who is to mend it; None: nobody."""
        body = AssignIn(expected_version=expected_version, assignee=assignee, reason=reason)
        return post(at("/v1/alerts/{}/assign", alert_id), AlertOut, body, Retry.KEYED, idempotency_key)

    @described
    def alert_rules(self) -> Call[AlertRulesOut]:
        """When alerts are raised, and who is told."""
        return get("/v1/alerts/rules", AlertRulesOut)

    @described
    def receivers(self) -> Call[ReceiversOut]:
        """Who is told of alerts, and whether it arrives."""
        return get("/v1/alerts/receivers", ReceiversOut)

    @described
    def test_receiver(self, receiver: str, reason: str, *, idempotency_key: str | None = None) -> Call[NotificationOut]:
        """Send a test; `notification()` says what has become of it."""
        body = TestReceiverIn(reason=reason)
        return post(at("/v1/alerts/receivers/{}/test", receiver), NotificationOut, body, Retry.KEYED, idempotency_key)

    @described
    def silences(self) -> Call[SilencesOut]:
        """All silences: those in force first, also those that are over."""
        return get("/v1/alerts/silences", SilencesOut)

    @described
    def create_silence(self, body: SilenceIn, *, idempotency_key: str | None = None) -> Call[SilenceOut]:
        """For a while nobody is told about certain alerts."""
        return post("/v1/alerts/silences", SilenceOut, body, Retry.KEYED, idempotency_key)

    @described
    def expire_silence(self, silence_id: str, reason: str, *, idempotency_key: str | None = None) -> Call[SilenceOut]:
        """End a silence now."""
        return post(
            at("/v1/alerts/silences/{}/expire", silence_id), SilenceOut, ExpireSilenceIn(reason=reason), Retry.KEYED, idempotency_key
        )

    @described
    def notifications(
        self, state: Literal["pending", "delivered", "dead"] | None = None, receiver: str | None = None, limit: int | None = None
    ) -> Call[NotificationsOut]:
        """What was sent, is on its way, or could not be delivered (`dead`); newest first."""
        return get("/v1/alerts/notifications", NotificationsOut, state=state, receiver=receiver, limit=limit)

    @described
    def notification(self, notification_id: str) -> Call[NotificationOut]:
        """One notification."""
        return get(at("/v1/alerts/notifications/{}", notification_id), NotificationOut)

    @described
    def resend_notification(self, notification_id: str, reason: str, *, idempotency_key: str | None = None) -> Call[NotificationOut]:
        """Try a dead letter again."""
        body = ResendIn(reason=reason)
        return post(at("/v1/alerts/notifications/{}/resend", notification_id), NotificationOut, body, Retry.KEYED, idempotency_key)

    @described
    def answers(self, limit: int | None = None, alert_id: str | None = None) -> Call[AnswersOut]:
        """What the policy has done about alerts, newest first; or about one of them."""
        return get("/v1/answers", AnswersOut, limit=limit, alert_id=alert_id)

    @described
    def approve_answer(self, answer_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[AnswerOut]:
        """Let a proposed answer take its steps."""
        body = AnswerDecisionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/answers/{}/approve", answer_id), AnswerOut, body, Retry.KEYED, idempotency_key)

    @described
    def dismiss_answer(self, answer_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[AnswerOut]:
        """Do nothing of what was proposed."""
        body = AnswerDecisionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/answers/{}/dismiss", answer_id), AnswerOut, body, Retry.KEYED, idempotency_key)
