"""The public routes of the API, each described once, for `TrajOpsClient` and `AsyncTrajOpsClient` alike.

The doors for the clients of other protocols (`/v2`, `/invocations`) are not here: they bring their own.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from trajops.client import arrow
from trajops.client.call import Call, at, described, get, post, text
from trajops.client.exchange import Options
from trajops.client.retries import Policy, Retry, RetryPredictions
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
from trajops.contracts.audit import AuditPage
from trajops.contracts.availability import AvailabilityOut
from trajops.contracts.calibrations import CalibrationChangeIn, CalibrationChangeOut, CalibrationsOut, CalibrationState
from trajops.contracts.deployments import CanaryIn, ChangeOut, DeploymentsOut, RollbackIn, RouteHistoryOut, StageIn, TransitionIn
from trajops.contracts.drift import DriftOut
from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut, JobsOut, PauseIn
from trajops.contracts.keys import KeyIn, KeyMadeOut, KeyOut, KeysOut, RevokeKeyIn, RotateKeyIn
from trajops.contracts.models import ModelsOut
from trajops.contracts.performance import EstimateOut, PerformanceChecksOut, PerformanceOut, SliceBy, SlicesOut
from trajops.contracts.predictions import (
    AgentsOut,
    BatchColumnsIn,
    BatchColumnsOut,
    BatchPredictIn,
    BatchPredictOut,
    ObservationIn,
    ObservationsIn,
    ObservationsOut,
    PredictIn,
    PredictionOut,
    PredictOut,
    RecentPredictions,
)
from trajops.contracts.session import Me, TokenOut
from trajops.contracts.status import Liveness, Readiness, StatusOut

# Longer than the API waits for what may hold it up, so that its own words arrive and not a time-out.
READ_S = 15.0
DEADLINE_S = 30.0


class Routes(ABC):
    """One method for every public route, and the options that both clients have.

    Args:
        base_url: address of the API, for example `http://127.0.0.1:8000`.
        token: bearer token or API key; None before sign-in.
        connect_s: longest wait for a connection, seconds.
        read_s: longest wait for the next part of an answer, seconds.
        deadline_s: of one call, all tries and the pauses between them together, seconds.
        attempts: tries of one call.
        retry_predictions: when a prediction is tried again: "refused", where it is certain that nothing was predicted; "lost", also
            where the answer was lost, which may record it twice; "never".
        longest_wait_s: the longest pause between two tries; an API that asks for a longer one (Retry-After) is not asked again.
        connections: async: most connections at once; sync: most that are kept open between calls.
        ca_file: certificates (PEM) that vouch for an https API, in place of the public ones.

    Raises:
        ValueError: if an option can never work.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        connect_s: float = 2.0,
        read_s: float = READ_S,
        deadline_s: float = DEADLINE_S,
        attempts: int = 3,
        retry_predictions: RetryPredictions = "refused",
        longest_wait_s: float = 10.0,
        connections: int = 32,
        ca_file: Path | str | None = None,
    ) -> None:
        policy = Policy(attempts, longest_wait_s=longest_wait_s, predictions=retry_predictions)
        trusted = None if ca_file is None else str(ca_file)
        self._options = Options(base_url.rstrip("/"), token, connect_s, read_s, deadline_s, policy, connections, trusted)
        self._open(self._options)

    @abstractmethod
    def _open(self, options: Options) -> None:
        """Prepare the connections."""

    @property
    def base_url(self) -> str:
        """Address of the API, without a trailing slash."""
        return self._options.base_url

    def within(self, seconds: float) -> Self:
        """The same client with another deadline for its calls, for example `client.within(1.0).predict(body)`; connections are shared."""
        other = copy.copy(self)
        other._options = replace(self._options, deadline_s=seconds, read_s=seconds)  # noqa: SLF001 - of its own class
        return other

    # Predicting. What is answered is recorded, so that a lost answer is not asked for again

    @described
    def predict(self, body: PredictIn) -> Call[PredictOut]:
        """Forecast one agent; set `model_version` to ask for one version instead of the routed one."""
        return post("/predict", PredictOut, body, Retry.RECORDED)

    @described
    def batch_predict(self, items: Sequence[PredictIn]) -> Call[BatchPredictOut]:
        """Forecast many agents; the answers keep the order of the items."""
        return post("/batch_predict", BatchPredictOut, BatchPredictIn(items=list(items)), Retry.RECORDED)

    @described
    def batch_columns(self, body: BatchColumnsIn) -> Call[BatchColumnsOut]:
        """The same with one list a field, for a third of the cost; without `agent_id` nothing is recorded."""
        return post("/batch_predict", BatchColumnsOut, body, Retry.RECORDED)

    @described
    def batch_arrow(self, table: arrow.Table) -> Call[arrow.Table]:
        """The same columns as Arrow, for bulk; needs pyarrow.

        Args:
            table: `history` as fixed-size lists of 16 floats, 8 × [x, y] in metres; optional `agent_id`, `scene_id`, `observed_at_s`;
                `model_version` and `source` in the schema's metadata.

        Returns:
            One row a trajectory: `weights`, `positions` (K × 12 × [x, y]) and `covariance` (K × 12 × [xx, xy, yy]) as flat lists;
            K, `dt_s` and the epoch in the schema's metadata. A row with an `error_code` has no forecast.

        Raises:
            ModuleNotFoundError: if pyarrow is not installed.
        """
        content = arrow.written(table)
        return Call(
            "POST",
            "/batch_predict",
            arrow.read,
            "an Arrow stream",
            Retry.RECORDED,
            content=content,
            content_type=arrow.MEDIA_TYPE,
            accept=arrow.MEDIA_TYPE,
        )

    @described
    def observe(self, observations: Sequence[ObservationIn], source: Literal["live", "replay"] = "live") -> Call[ObservationsOut]:
        """Hand over new positions, in any order."""
        return post("/observations", ObservationsOut, ObservationsIn(observations=list(observations), source=source), Retry.RECORDED)

    # Signing in

    @described
    def sign_in(self, username: str, password: str) -> Call[TokenOut]:
        """Exchange name and password for a bearer token; this client does not adopt it."""
        return post("/v1/token", TokenOut, {"username": username, "password": password}, Retry.ONCE)

    @described
    def me(self) -> Call[Me]:
        """Who the token belongs to, and in which role."""
        return get("/v1/me", Me)

    # Reading

    @described
    def models(self) -> Call[ModelsOut]:
        """All versions of the registered model, newest first."""
        return get("/v1/models", ModelsOut)

    @described
    def deployments(self) -> Call[DeploymentsOut]:
        """All deployments, newest first."""
        return get("/v1/deployments", DeploymentsOut)

    @described
    def routes(self, limit: int | None = None) -> Call[RouteHistoryOut]:
        """Who answers now, and what was live when."""
        return get("/v1/routes", RouteHistoryOut, limit=limit)

    @described
    def audit(self, limit: int = 50, subject: str | None = None) -> Call[AuditPage]:
        """Latest changes, newest first; `subject` is for example `trajectory/3`."""
        return get("/v1/audit", AuditPage, limit=limit, subject=subject)

    @described
    def performance(self, since: datetime | None = None, until: datetime | None = None) -> Call[PerformanceOut]:
        """Live accuracy of a time range; aware times."""
        return get("/v1/performance", PerformanceOut, since=_iso(since), until=_iso(until))

    @described
    def performance_slices(
        self, by: SliceBy = "model_version", since: datetime | None = None, until: datetime | None = None
    ) -> Call[SlicesOut]:
        """Figures of a range of at most a day taken apart, with intervals over agents, beside those of validation."""
        return get("/v1/performance/slices", SlicesOut, by=by, since=_iso(since), until=_iso(until))

    @described
    def performance_estimate(self, since: datetime | None = None, until: datetime | None = None) -> Call[EstimateOut]:
        """The error of predictions whose truth is still missing, and how such estimates came out before."""
        return get("/v1/performance/estimate", EstimateOut, since=_iso(since), until=_iso(until))

    @described
    def performance_checks(self, limit: int = 50) -> Call[PerformanceChecksOut]:
        """The newest check of each version, and the checks before."""
        return get("/v1/performance/checks", PerformanceChecksOut, limit=limit)

    @described
    def calibrations(self, limit: int = 50) -> Call[CalibrationsOut]:
        """Calibrations of served versions, newest first."""
        return get("/v1/calibrations", CalibrationsOut, limit=limit)

    @described
    def predictions(self, limit: int = 50, scene_id: str | None = None, agent_id: str | None = None) -> Call[RecentPredictions]:
        """Newest predictions with the truth that has arrived since."""
        return get("/v1/predictions", RecentPredictions, limit=limit, scene_id=scene_id, agent_id=agent_id)

    @described
    def prediction(self, prediction_id: str) -> Call[PredictionOut]:
        """One prediction with the truth that has arrived since."""
        return get(at("/v1/predictions/{}", prediction_id), PredictionOut)

    @described
    def agents(self, scene_id: str | None = None, limit: int | None = None) -> Call[AgentsOut]:
        """Agents in the track buffer of the process that answers."""
        return get("/v1/agents", AgentsOut, scene_id=scene_id, limit=limit)

    @described
    def drift(self) -> Call[DriftOut]:
        """The newest drift check in full, and the verdicts before it."""
        return get("/v1/drift", DriftOut)

    @described
    def drift_report(self, check_id: str) -> Call[str]:
        """The full report of one drift check, as an HTML document."""
        return text(at("/v1/drift/{}/report", check_id), "text/html")

    @described
    def jobs(self) -> Call[JobsOut]:
        """What the workers do in the background, and how it went."""
        return get("/v1/jobs", JobsOut)

    @described
    def job_runs(self, job: str, limit: int | None = None) -> Call[JobRunsOut]:
        """The newest runs of one job, and what they add up to."""
        return get(at("/v1/jobs/{}/runs", job), JobRunsOut, limit=limit)

    @described
    def availability(self, hours: int | None = None) -> Call[AvailabilityOut]:
        """How available the API was, what is left of its error budget, and the last hours as a series."""
        return get("/v1/availability", AvailabilityOut, hours=hours)

    @described
    def status(self) -> Call[StatusOut]:
        """The whole product in one glance."""
        return get("/v1/status", StatusOut)

    @described
    def health(self) -> Call[Liveness]:
        """Whether the API process lives."""
        return get("/healthz", Liveness)

    @described
    def ready(self) -> Call[Readiness]:
        """Whether every routed model is warm; a `not_ready` answer (503) is returned, not raised."""
        return replace(get("/readyz", Readiness), passes=frozenset({503}))

    @described
    def metrics(self) -> Call[str]:
        """Counters in the Prometheus text format."""
        return text("/metrics", "text/plain")

    # Changing; an idempotency key is made where the caller gives none

    @described
    def run_job(self, job: str, *, idempotency_key: str | None = None) -> Call[JobRunOut]:
        """Run one job now."""
        return post(at("/v1/jobs/{}/run", job), JobRunOut, None, Retry.KEYED, idempotency_key)

    @described
    def pause_job(self, job: str, reason: str, *, idempotency_key: str | None = None) -> Call[JobOut]:
        """Let a job run by hand only, until it is resumed."""
        return post(at("/v1/jobs/{}/pause", job), JobOut, PauseIn(reason=reason), Retry.KEYED, idempotency_key)

    @described
    def resume_job(self, job: str, reason: str, *, idempotency_key: str | None = None) -> Call[JobOut]:
        """Let a paused job run by its schedule again."""
        return post(at("/v1/jobs/{}/resume", job), JobOut, PauseIn(reason=reason), Retry.KEYED, idempotency_key)

    @described
    def stage(self, model_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """Make a registered version ready to take traffic."""
        return post("/v1/deployments", ChangeOut, StageIn(model_version=model_version, reason=reason), Retry.KEYED, idempotency_key)

    @described
    def start_canary(
        self, deployment_id: str, expected_version: int, coverage: float, reason: str, *, idempotency_key: str | None = None
    ) -> Call[ChangeOut]:
        """Compare a staged deployment with the champion on `coverage` (0–1] of the agents."""
        body = CanaryIn(expected_version=expected_version, coverage=coverage, reason=reason)
        return post(at("/v1/deployments/{}/canary", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def pause_canary(
        self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[ChangeOut]:
        """Take the traffic from the challenger; starting the canary again puts nobody into another arm."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/deployments/{}/canary/pause", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def stop_canary(self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """End the comparison; the champion answers everybody."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/deployments/{}/canary/stop", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def promote(self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """Make a deployment the champion; the champion so far is kept warm for a rollback."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/deployments/{}/promote", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def rollback(self, expected_epoch: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """Put the previous champion back."""
        body = RollbackIn(expected_epoch=expected_epoch, reason=reason)
        return post("/v1/routes/rollback", ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def apply_calibration(
        self, number: int, expected_state: CalibrationState, reason: str, *, idempotency_key: str | None = None
    ) -> Call[CalibrationChangeOut]:
        """Put a proposed or reverted calibration into force."""
        body = CalibrationChangeIn(expected_state=expected_state, reason=reason)
        return post(at("/v1/calibrations/{}/apply", str(number)), CalibrationChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def revert_calibration(
        self, number: int, expected_state: CalibrationState, reason: str, *, idempotency_key: str | None = None
    ) -> Call[CalibrationChangeOut]:
        """Take a calibration out, so that its version is served as trained."""
        body = CalibrationChangeIn(expected_state=expected_state, reason=reason)
        return post(at("/v1/calibrations/{}/revert", str(number)), CalibrationChangeOut, body, Retry.KEYED, idempotency_key)

    # Alerts

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
        return get("/v1/alerts", AlertsOut, state=state, severity=severity, rule=rule, since=_iso(since), limit=limit)

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

    # Answers to alerts

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

    # API keys, for admins. A secret is in one answer only, so that making and rotating are repeated only if they were never sent

    @described
    def keys(self) -> Call[KeysOut]:
        """All API keys, newest first, also ended ones."""
        return get("/v1/keys", KeysOut)

    @described
    def create_key(self, body: KeyIn) -> Call[KeyMadeOut]:
        """Make a key; after ApiUnavailable look into `keys()`, and revoke the one whose secret did not arrive."""
        return post("/v1/keys", KeyMadeOut, body, Retry.ONCE)

    @described
    def rotate_key(self, key_id: str, overlap_s: float, reason: str) -> Call[KeyMadeOut]:
        """Replace a key; the old one stays valid for `overlap_s` seconds."""
        return post(at("/v1/keys/{}/rotate", key_id), KeyMadeOut, RotateKeyIn(overlap_s=overlap_s, reason=reason), Retry.ONCE)

    @described
    def revoke_key(self, key_id: str, reason: str, *, idempotency_key: str | None = None) -> Call[KeyOut]:
        """End a key at once."""
        return post(at("/v1/keys/{}/revoke", key_id), KeyOut, RevokeKeyIn(reason=reason), Retry.KEYED, idempotency_key)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
