"""The stub API as a whole: who may call it, and which part answers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from console_stub.accounts import StubAccounts
from console_stub.alerts import StubAlerts
from console_stub.drift import StubDrift
from console_stub.experiments import StubExperiments
from console_stub.jobs import StubJobs
from console_stub.performance import StubPerformance
from console_stub.predictions import StubPredictions
from console_stub.refusal import Refused
from console_stub.releases import StubReleases
from console_stub.rollouts import StubRollouts
from console_stub.runs import StubRuns
from console_stub.scenes import StubScenes
from console_stub.services import StubServices
from console_stub.tasks import StubTasks
from trajops.audit import is_prefix
from trajops.contracts.alerts import NotificationOut, SilenceOut
from trajops.contracts.answers import AnswerOut
from trajops.contracts.audit import AuditOut, AuditPage
from trajops.contracts.session import Me, TokenOut
from trajops.contracts.status import Liveness

USERS = {"ada": ("operator", "correct horse"), "vera": ("viewer", "battery staple"), "root": ("admin", "correct horse")}


class StubApi:
    """State of a plausible product; set `is_empty` for one that has just been installed, `delay_s` for one that answers late.

    Attributes:
        calls: all of them: method, path, headers, body.
        changed: paths that were posted to and not refused.
        reads: those of operators: method, path, query.
        ended: whose sessions have ended.
    """

    def __init__(self, *, is_empty: bool = False) -> None:
        self.calls: list[tuple[str, str, dict[str, str], Any]] = []
        self.changed: list[str] = []
        self.reads: list[tuple[str, str, dict[str, str]]] = []
        self.delay_s = 0.0
        self.ended: set[str] = set()
        self.started = datetime.now(UTC)
        self.accounts = StubAccounts(self.started, is_empty=is_empty)
        self.alerts = StubAlerts(self.started, is_empty=is_empty)
        self.releases = StubReleases(self.started, is_empty=is_empty)
        self.experiments = StubExperiments(self.started, self.releases, is_empty=is_empty)
        self.rollouts = StubRollouts(self.started, is_empty=is_empty)
        self.runs = StubRuns(is_empty=is_empty)
        self.performance = StubPerformance(self.started, is_empty=is_empty)
        self.drift = StubDrift(is_empty=is_empty)
        self.jobs = StubJobs(is_empty=is_empty)
        self.predictions = StubPredictions(self.releases, is_empty=is_empty)
        self.scenes = StubScenes(self.predictions, is_empty=is_empty)
        self.tasks = StubTasks(self.started, is_empty=is_empty)
        self.services = StubServices(self.releases, self.performance, self.drift, self.jobs, is_empty=is_empty)

    def answer(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any) -> BaseModel | str | bytes:
        """The contract model, text or bytes for one call."""
        self.calls.append((method, path, headers, body))
        answer = self.found(method, path, query, headers, body)
        if method == "POST":
            self.changed.append(path)
        return answer

    def found(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any) -> BaseModel | str:
        """The same, or Refused."""
        if path in self.open_routes():
            return self.open_routes()[path](body)
        username = headers.get("authorization", "").removeprefix("Bearer token-")
        if username not in USERS or username in self.ended:
            raise Refused(401, "unauthenticated", "the token is missing, wrong or expired")
        if path == "/v1/me":
            return Me(username=username, role=USERS[username][0], environment="demo")
        self.reads.append((method, path, query))
        if path == "/v1/me/password":
            return self.accounts.post(path, body, username)
        if path.startswith(("/v1/users", "/v1/keys")):
            self.require_admin(username)
            return self.accounts.post(path, body, username) if method == "POST" else self.accounts.read(path)
        if path.startswith("/v1/runs/") and method == "POST" and USERS[username][0] != "viewer":
            return self.runs.register(path, body, username, headers.get("idempotency-key"))
        return self.post(path, body, username) if method == "POST" else self.read(path, query)

    def require_admin(self, username: str) -> None:
        if USERS[username][0] != "admin":
            raise Refused(403, "forbidden", f"this needs the role admin; {username} is {USERS[username][0]}")

    def open_routes(self) -> dict[str, Callable[[Any], BaseModel | str]]:
        return {
            "/healthz": lambda _: Liveness(status="alive"),
            "/readyz": lambda _: self.services.ready(),
            "/metrics": lambda _: "trajops_predictions_total 1\n",
            "/v1/token": self.sign_in,
        }

    def sign_in(self, body: dict[str, str]) -> TokenOut:
        role, password = USERS.get(body["username"], ("", None))
        if password is None or body["password"] != password:
            raise Refused(401, "unauthenticated", "name or password is wrong")
        until = datetime.now(UTC) + timedelta(hours=8)
        return TokenOut(access_token=f"token-{body['username']}", expires_at=until, username=body["username"], role=role)

    def post(self, path: str, body: Any, username: str) -> BaseModel:
        if path == "/predict":
            return self.predictions.forecast(
                body["history"], body.get("model_version") or 2, "pred-direct", body["agent_id"], body["scene_id"]
            )
        if path == "/v1/experiments/check":
            return self.experiments.check(body)
        if USERS[username][0] == "viewer":
            raise Refused(403, "forbidden", "a viewer may not change what is served")
        if path.startswith("/v1/alerts/"):
            made = self.alerts.post(path, body, username)
            self.note(path, body, username, made)
            return made
        if path.startswith("/v1/answers/"):
            decided = self.alerts.decide(path, body, username)
            self.note(path, body, username, decided)
            return decided
        for resource, part in (("experiments", self.experiments), ("rollouts", self.rollouts), ("tasks", self.tasks)):
            if path.startswith(f"/v1/{resource}"):
                return part.post(path, body, username)
        if path.startswith("/v1/drift/"):
            return self.drift.change(path, body)
        if path.startswith("/v1/calibrations/"):
            return self.performance.recalibrated(path, body)
        if path.startswith("/v1/models/"):
            _, _, _, version, action = path.split("/")
            return self.releases.delete(int(version), username) if action == "delete" else self.releases.ask(int(version))
        if path.startswith("/v1/jobs/"):
            _, _, _, name, action = path.split("/")
            return self.jobs.change(name, action)
        return self.releases.change(path, body)

    def note(self, path: str, body: dict[str, Any], username: str, made: BaseModel) -> None:
        """Audit a change about alerts."""
        if isinstance(made, SilenceOut):
            subject = f"silence/{made.silence_id}"
        elif isinstance(made, AnswerOut):
            subject = f"alert/{made.alert_id}"
        else:
            subject = f"receiver/{made.receiver}" if isinstance(made, NotificationOut) else f"alert/{path.split('/')[3]}"
        entry = {"at": datetime.now(UTC), "actor": username, "subject": subject, "reason": body["reason"], "before": {}, "after": {}}
        action = f"{'answer' if isinstance(made, AnswerOut) else 'alert'}.{path.rsplit('/', 1)[1]}"
        self.releases.audit.insert(
            0, AuditOut.model_validate({**entry, "audit_id": f"aud-{len(self.releases.audit) + 1:04d}", "action": action})
        )

    def audit_entries(self) -> list[AuditOut]:
        return sorted([*self.releases.audit, *self.experiments.audit, *self.rollouts.audit()], key=lambda one: one.at, reverse=True)

    def audited(self, limit: str = "50", cursor: str = "0", **asked: str) -> AuditPage:
        """As the API does it; a cursor is how many entries were before."""
        found = [one for one in self.audit_entries() if all(_is_asked_for(one, *pair) for pair in asked.items())]
        if not cursor.isdecimal():
            raise Refused(422, "invalid_input", "the cursor is none that this list has given; begin with its first page")
        begin = int(cursor)
        end = begin + int(limit)
        return AuditPage(entries=found[begin:end], next_cursor=str(end) if len(found) > end else None)

    def audit_entry(self, audit_id: str) -> AuditOut:
        found = next((one for one in self.audit_entries() if one.audit_id == audit_id), None)
        if found is None:
            raise Refused(404, "not_found", f"there is no audit entry {audit_id!r}")
        return found

    def read(self, path: str, query: dict[str, str]) -> BaseModel | str | bytes:
        if path.endswith("/report"):
            return "<html><head><script>document.title='drawn'</script></head><body><h1>Report</h1></body></html>"
        last = path.rsplit("/", 1)[1]
        begun: dict[str, Callable[[], Any]] = {
            "/v1/alerts": lambda: self.alerts.read(path, query),
            "/v1/experiments/": lambda: self.experiments.read(path, query),
            "/v1/runs": lambda: self.runs.read(path, query),
            "/v1/rollouts": lambda: self.rollouts.read(path),
            "/v1/models/": lambda: self.releases.read(path),
            "/v1/audit/": lambda: self.audit_entry(last),
            "/v1/jobs/": lambda: self.jobs.job_runs(path.split("/")[3]),
            "/v1/scenes/": lambda: self.scenes.read(path, query),
            "/v1/tasks": lambda: self.tasks.read(path),
            "/v1/predictions/": lambda: self.predictions.prediction(last),
        }
        for begin, reader in begun.items():
            if path.startswith(begin):
                return reader()  # type: ignore[no-any-return]
        readers: dict[str, Callable[..., BaseModel]] = {
            "/v1/models": self.releases.models,
            "/v1/experiments": self.experiments.newest,
            "/v1/routes": self.releases.routes,
            "/v1/deployments": self.releases.deployments,
            "/v1/audit": self.audited,
            "/v1/performance": self.performance.performance,
            "/v1/performance/slices": self.performance.slices,
            "/v1/performance/estimate": self.performance.estimate,
            "/v1/performance/checks": self.performance.checks,
            "/v1/calibrations": self.performance.calibrations,
            "/v1/predictions": self.predictions.predictions,
            "/v1/agents": self.predictions.agents,
            "/v1/scenes": self.scenes.scenes,
            "/v1/drift": self.drift.drift,
            "/v1/jobs": self.jobs.jobs,
            "/v1/answers": self.alerts.answered,
            "/v1/availability": self.services.availability,
            "/v1/status": self.services.status,
        }
        if path not in readers:
            raise Refused(404, "not_found", f"no route {path}")
        return readers[path](**query)


def _is_asked_for(entry: AuditOut, name: str, wanted: str) -> bool:
    if name == "since":
        return entry.at >= datetime.fromisoformat(wanted)
    if name == "until":
        return entry.at < datetime.fromisoformat(wanted)
    if name == "text":
        return wanted.casefold() in entry.reason.casefold()
    value = str(getattr(entry, name))
    return value.startswith(wanted) if is_prefix(wanted) else value == wanted
