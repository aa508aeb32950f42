"""Alerts: what is wrong, who was told, who looks after it; silences, notifications, receivers, and Alertmanager's webhook."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api import alert_list
from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from trajops.alerts.lifecycle import Severity
from trajops.alerts.outbox import NotificationState
from trajops.contracts.alerts import (
    AlertChangeIn,
    AlertDetailOut,
    AlertmanagerTakenOut,
    AlertmanagerWebhookIn,
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
from trajops.contracts.wire import Time

router = APIRouter(prefix="/v1/alerts", tags=["alerts"])
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("", summary="Alerts", responses=READS)
def alerts(
    parts: PartsOf,
    _client: Reader,
    state: Annotated[
        Literal["active", "pending", "open", "acknowledged", "resolved"] | None,
        Query(description="`active`: open or acknowledged. Left out: all but pending ones."),
    ] = None,
    severity: Severity | None = None,
    rule: Annotated[str | None, Query(max_length=256)] = None,
    since: Annotated[Time | None, Query(description="Leave out what was resolved before.")] = None,
    limit: Limit = 100,
) -> AlertsOut:
    """Alerts that are not over by severity and age, then the others, newest first; and how many there are.

    Where an Alertmanager is set, its alerts stand beside ours as `alertmanager`; those cannot be changed here.
    """
    return alert_list.read_alerts(parts, state=state, severity=severity, rule=rule, since=since, limit=limit)


@router.get("/rules", summary="Alert rules", responses=READS)
def alert_rules(parts: PartsOf, _client: Reader) -> AlertRulesOut:
    """When alerts are raised, and who is told."""
    return alert_list.read_rules(parts)


@router.get("/receivers", summary="Receivers", responses=READS)
def receivers(parts: PartsOf, _client: Reader) -> ReceiversOut:
    """Who is told of alerts, and whether it arrives; never a secret."""
    return alert_list.read_receivers(parts)


@router.post("/receivers/{receiver}/test", summary="Send a test", responses=CHANGES)
def send_test(receiver: str, body: TestReceiverIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> NotificationOut:
    """Put a test into the outbox; what has become of it is to be asked at `/v1/alerts/notifications/{notification_id}`."""
    return parts.alerts.test_receiver(receiver, body.reason, actor=client.client_id, key=key)


@router.get("/silences", summary="Silences", responses=READS)
def silences(parts: PartsOf, _client: Reader) -> SilencesOut:
    """All silences: those in force, then those that wait, then those that are over."""
    return parts.alerts.silences()


@router.post("/silences", summary="Silence alerts", responses=CHANGES)
def create_silence(body: SilenceIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> SilenceOut:
    """For a while nobody is told about alerts that all matchers hold for; they are raised, shown and resolved as ever."""
    return parts.alerts.create_silence(body, actor=client.client_id, key=key)


@router.post("/silences/{silence_id}/expire", summary="End a silence", responses=CHANGES)
def expire_silence(silence_id: str, body: ExpireSilenceIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> SilenceOut:
    """End a silence now; one that is over stays as it is."""
    return parts.alerts.expire_silence(silence_id, body.reason, actor=client.client_id, key=key)


@router.get("/notifications", summary="Notifications", responses=READS)
def notifications(
    parts: PartsOf,
    _client: Reader,
    state: Annotated[NotificationState | None, Query(description="`dead`: given up.")] = None,
    receiver: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
) -> NotificationsOut:
    """What was sent, is on its way, or could not be delivered; newest first."""
    with parts.unit_of_work(read_only=True) as uow:
        found = uow.notifications.newest(state=state, receiver=receiver, limit=limit)
    return NotificationsOut(notifications=[NotificationOut.of(one) for one in found])


@router.get("/notifications/{notification_id}", summary="One notification", responses=READS)
def notification(notification_id: str, parts: PartsOf, _client: Reader) -> NotificationOut:
    """One notification."""
    with parts.unit_of_work(read_only=True) as uow:
        return NotificationOut.of(uow.notifications.get(notification_id))


@router.post("/notifications/{notification_id}/resend", summary="Send again", responses=CHANGES)
def resend_notification(
    notification_id: str, body: ResendIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> NotificationOut:
    """Try a dead letter again."""
    return parts.alerts.resend(notification_id, body.reason, actor=client.client_id, key=key)


@router.post("/alertmanager", summary="Webhook for Alertmanager", responses=CHANGES, tags=["alertmanager webhook"])
def alertmanager_webhook(body: AlertmanagerWebhookIn, parts: PartsOf, client: Operator) -> AlertmanagerTakenOut:
    """What a Prometheus Alertmanager posts to a `webhook_configs` receiver; its alerts are kept as `external` ones.

    Its `http_config.authorization.credentials` is an API key with the scope `operate`. Alerts that we posted there are left out.
    """
    return parts.alerts.take(body, actor=client.client_id)


@router.get("/{alert_id}", summary="One alert", responses=READS)
def alert(alert_id: str, parts: PartsOf, _client: Reader) -> AlertDetailOut:
    """One alert with what happened to it: who was told, who acknowledged it, when it was silenced, escalated, resolved."""
    return alert_list.read_alert(parts, alert_id)


@router.post("/{alert_id}/acknowledge", summary="Acknowledge", responses=CHANGES)
def acknowledge_alert(alert_id: str, body: AlertChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> AlertOut:
    """Say that somebody looks after it: it is neither repeated nor escalated any more."""
    return parts.alerts.acknowledge(alert_id, body, actor=client.client_id, key=key)


@router.post("/{alert_id}/resolve", summary="Resolve", responses=CHANGES)
def resolve_alert(alert_id: str, body: AlertChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> AlertOut:
    """End an alert by hand; if its condition holds on, it comes again as another one."""
    return parts.alerts.resolve(alert_id, body, actor=client.client_id, key=key)


@router.post("/{alert_id}/assign", summary="Assign", responses=CHANGES)
def assign_alert(alert_id: str, body: AssignIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> AlertOut:
    """Say who is to mend it."""
    return parts.alerts.assign(alert_id, body, actor=client.client_id, key=key)
