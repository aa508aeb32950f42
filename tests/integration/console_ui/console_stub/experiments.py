"""Experiments of the stub API: one in each state, with the verdicts that the product's own judge gives."""

from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from console_stub.releases import StubReleases
from tests.experiment_builders import a_plan, an_arm, figures
from trajops.contracts.audit import AuditOut
from trajops.contracts.experiments import (
    ChecklistOut,
    CheckOut,
    ExperimentChangeOut,
    ExperimentErrorsOut,
    ExperimentOut,
    ExperimentPlan,
    ExperimentSlicesOut,
    ExperimentsOut,
    KillSwitchOut,
    VerdictOut,
    VerdictsOut,
)
from trajops.experiments.lifecycle import ExperimentState as S
from trajops.experiments.slices import ERRORS_LABEL, LABEL, SHARES, Slice, UnitErrors, confidence, explore, hidden_because, spread
from trajops.experiments.sums import ArmSums
from trajops.experiments.verdict import judge

LOOKS = 40
ARMS = [{"variant": "control", "model_version": 2, "weight": 0.5}, {"variant": "treatment", "model_version": 3, "weight": 0.5}]


def plan_for(version: int, **changes: Any) -> ExperimentPlan:
    return a_plan(**({"arms": [ARMS[0], {**ARMS[1], "model_version": version}], "stop": {}} | changes))


def verdicts_of(plan: ExperimentPlan, started: datetime, span: timedelta, *, mean_m: float, units: int, **changes: Any) -> list[VerdictOut]:
    """Looks at units that keep coming, oldest first; `changes` are of the treatment's figures."""
    found: list[VerdictOut] = []
    for look in range(1, LOOKS + 1):
        number = units * look // LOOKS
        control = {"latency_ms": (1.4, 3.9, 7.2), "means": (0.5, 1.12, 0.084, 0.871), "slow_units": number // 70, "label_delay_s": 5.2}
        means = (mean_m, 2.24 * mean_m, 0.168 * mean_m, 0.893)
        treatment = {"latency_ms": (1.6, 4.4, 8.9), "means": means, "slow_units": number // 30, "label_delay_s": 5.4, **changes}
        arms = [
            an_arm("control", number, failed_units=number // 90, **control),
            an_arm(plan.arms[1].variant, number - number // 40, mean_m=mean_m, **treatment),
        ]
        at = started + span * look / LOOKS
        found.append(judge(plan, figures(*arms, at=at, jumpers=2), started, before=found[-1] if found else None))
    return found


class StubExperiments:
    """What is being compared and what was; empty for a product that has just been installed.

    Attributes:
        conflict_next: whether somebody else is faster with the next change.
        blocked: what the checklist says against any plan; None: nothing.
    """

    def __init__(self, started: datetime, releases: StubReleases, *, is_empty: bool) -> None:
        self.started = started
        self.releases = releases
        self.conflict_next = False
        self.blocked: str | None = None
        self.audit: list[AuditOut] = []
        self.known: dict[str, ExperimentOut] = {}
        self.looks: dict[str, list[VerdictOut]] = {}
        if is_empty:
            return
        hours = timedelta(hours=1)
        self.add("exp-draft", S.DRAFT, plan_for(4, name="boosted trees"), age=hours / 2)
        self.add("exp-running", S.RUNNING, plan_for(3, name="wider net", coverage=0.5), age=2 * hours, mean_m=0.49, units=620)
        self.add("exp-worse", S.ROLLED_BACK, plan_for(1, name="older model"), age=30 * hours, mean_m=0.62, units=140)
        self.add("exp-better", S.PROMOTED, plan_for(3, name="deeper net"), age=60 * hours, mean_m=0.42, units=900)

    def add(
        self, experiment_id: str, state: S, plan: ExperimentPlan, *, age: timedelta, mean_m: float = 0.5, units: int = 0, **changes: Any
    ) -> ExperimentOut:
        """Know one that began `age` ago and was looked at until now, or for a quarter of that if it is over."""
        began = self.started - age
        is_over = state in {S.PROMOTED, S.ROLLED_BACK, S.INCONCLUSIVE, S.STOPPED}
        span = age / 4 if is_over else age
        looks = verdicts_of(plan, began, span, mean_m=mean_m, units=units, **changes) if units else []
        self.looks[experiment_id] = looks
        decided = f"decide_{looks[-1].kind}" if looks and state not in {S.RUNNING, S.PAUSED} else None
        sentence = looks[-1].sentence if decided is not None else f"Launched on {100 * plan.coverage:g} % of the agents."
        self.known[experiment_id] = ExperimentOut(
            experiment_id=experiment_id,
            plan=plan,
            state=state,
            version=3,
            coverage=0.0 if state == S.PAUSED else plan.coverage,
            closed_arms=[plan.arms[1].variant] if state == S.ROLLED_BACK else [],
            seed="s",
            created_at=began,
            created_by="ada",
            updated_at=began + span,
            started_at=None if state == S.DRAFT else began,
            ended_at=began + span if is_over else None,
            winner=plan.arms[1].variant if state in {S.PROMOTED, S.RECOMMENDED} else None,
            sentence="Not launched yet." if state == S.DRAFT else sentence,
            verdict=looks[-1] if looks else None,
        )
        about = f"experiment/{experiment_id}"
        self.audited("experiment.create", about, "the wider net wins offline", at=began)
        if state != S.DRAFT:
            self.audited("experiment.launch", about, "compare on live traffic", at=began)
        if decided is not None:
            cause = {"cause": looks[-1].model_dump(mode="json")}
            self.audited(f"experiment.{decided}", about, sentence, at=began + span, actor="worker:judge_experiments", after=cause)
        return self.known[experiment_id]

    def audited(self, action: str, subject: str, reason: str, *, at: datetime | None = None, actor: str = "ada", after: Any = None) -> str:
        """Write an audit entry."""
        number = f"aud-e{len(self.audit) + 1:03d}"
        entry = AuditOut(
            audit_id=number,
            at=at or datetime.now(UTC),
            actor=actor,
            action=action,
            subject=subject,
            reason=reason,
            before={},
            after=after or {},
        )
        self.audit.append(entry)
        return number

    def newest(self, **_: Any) -> ExperimentsOut:
        now = datetime.now(UTC)
        found = sorted(self.known.values(), key=lambda one: one.created_at, reverse=True)
        return ExperimentsOut(experiments=[self.fresh(one, now) for one in found])

    def fresh(self, one: ExperimentOut, now: datetime) -> ExperimentOut:
        """The judge looks at what is routed every two seconds."""
        if one.verdict is None or one.state not in {S.RUNNING, S.PAUSED, S.RECOMMENDED}:
            return one
        return one.model_copy(update={"verdict": one.verdict.model_copy(update={"at": now})})

    def read(self, path: str, query: dict[str, str]) -> ExperimentOut | VerdictsOut | ExperimentSlicesOut | ExperimentErrorsOut:
        name = path.split("/")[3]
        if name not in self.known:
            raise Refused(404, "not_found", f"no experiment {name}")
        if path.endswith("/slices"):
            return self.slices(self.fresh(self.known[name], datetime.now(UTC)), query.get("by", "scene"))
        if path.endswith("/errors"):
            return self.errors(self.fresh(self.known[name], datetime.now(UTC)))
        return VerdictsOut(verdicts=self.looks[name]) if path.endswith("/verdicts") else self.fresh(self.known[name], datetime.now(UTC))

    @staticmethod
    def sums_of(arms: list[str], k: int) -> dict[str, ArmSums]:
        """The better for the treatment, the farther down; the last has few units."""
        return {name: an_arm(name, 9 if k == 3 else 200, mean_m=0.5 - 0.05 * k * place, seed=k).sums for place, name in enumerate(arms)}

    def slices(self, one: ExperimentOut, by: Any) -> ExperimentSlicesOut:
        """Four parts, the last of which has few units."""
        hidden, arms = hidden_because(one, datetime.now(UTC)), [arm.variant for arm in one.plan.arms]
        values = {"speed_band": ["standing", "walking", "running", "fast"], "step": ["1", "2", "3", "4"]}.get(by, list("abcd"))
        made = [Slice(value, self.sums_of(arms, k), {}) for k, value in enumerate(values)]
        rows = [] if hidden is not None else explore(one.plan, made, arms[1:])
        return ExperimentSlicesOut(
            experiment_id=one.experiment_id, by=by, label=LABEL, hidden_because=hidden, since=one.started_at, until=datetime.now(UTC),
            confidence=confidence(one.plan), slices=rows, left_out=0 if by in {"speed_band", "step"} else 2,
        )  # fmt: skip

    @staticmethod
    def errors(one: ExperimentOut) -> ExperimentErrorsOut:
        """Each treatment's units are a little nearer than those of the arm before."""
        hidden, arms = hidden_because(one, datetime.now(UTC)), [arm.variant for arm in one.plan.arms]
        made = {name: UnitErrors(300, [(1 - 0.1 * place) * share for share in SHARES]) for place, name in enumerate(arms)}
        return ExperimentErrorsOut(
            experiment_id=one.experiment_id, metric=one.plan.metric, label=ERRORS_LABEL, hidden_because=hidden, since=one.started_at,
            until=datetime.now(UTC), shares=list(SHARES), arms=[] if hidden is not None else spread(one.plan, made, arms[1:]),
        )  # fmt: skip

    def check(self, body: Any) -> ChecklistOut:
        plan = ExperimentPlan.model_validate(body)
        units = round(7.36 / plan.expected_change**2)
        lines = [
            CheckOut(
                name="units", state="blocked" if self.blocked else "ok", detail=self.blocked or "no other experiment enrols the same units"
            ),
            CheckOut(name="versions", state="ok", detail="staged"),
            CheckOut(name="warm", state="warning", detail="v4 will be loaded first"),
            CheckOut(name="join rate", state="ok", detail="86.1 % of the predictions get truth, the plan asks for 20 %"),
            CheckOut(name="duration", state="ok", detail=f"takes about {units} agents"),
        ]
        seconds = 86_400 * units / (2400 * plan.coverage)
        return ChecklistOut(can_launch=self.blocked is None, checks=lines, units_per_day=2400.0, expected_units=units, expected_s=seconds)

    def post(self, path: str, body: Any, username: str) -> ExperimentChangeOut | KillSwitchOut:
        if path == "/v1/experiments":
            return self.create(body, username)
        if path == "/v1/experiments/switch":
            return self.switch(body, username)
        _, _, _, name, action = path.split("/")
        one = self.known.get(name)
        if one is None:
            raise Refused(404, "not_found", f"no experiment {name}")
        if self.conflict_next:
            self.conflict_next = False
            one = self.known[name] = one.model_copy(update={"state": S.PAUSED, "coverage": 0.0, "version": one.version + 1})
            self.audited("experiment.pause", f"experiment/{name}", "the cameras flicker", actor="ben")
        if body["expected_version"] != one.version:
            said = f"experiment {name} has version {one.version}, not {body['expected_version']}"
            raise Refused(409, "stale_version", f"{said}: somebody changed it; read it again and repeat")
        changed = one.model_copy(update={**self.changes(action, one, body), "version": one.version + 1, "updated_at": datetime.now(UTC)})
        self.known[name] = changed
        audit_id = self.audited(f"experiment.{action}", f"experiment/{name}", body["reason"], actor=username)
        return ExperimentChangeOut(experiment=changed, epoch=self.releases.current.epoch + 1, audit_id=audit_id)

    def changes(self, action: str, one: ExperimentOut, body: Any) -> dict[str, Any]:
        now = datetime.now(UTC)
        if action == "launch":
            if self.blocked:
                raise Refused(409, "conflict", f"units: {self.blocked}")
            return {"state": S.RUNNING, "started_at": now, "sentence": "Launched on 100 % of the agents."}
        if action == "cover":
            state = S.RUNNING if one.state == S.PAUSED else one.state
            return {"state": state, "coverage": body["coverage"], "sentence": "Enrolled anew."}
        if action == "pause":
            return {"state": S.PAUSED, "coverage": 0.0, "sentence": f"Paused: {body['reason']}"}
        if action == "override":
            return {}
        if one.state == S.DRAFT:
            return {"state": S.DISCARDED, "ended_at": now, "sentence": f"Discarded: {body['reason']}"}
        winner = body.get("winner")
        won = winner not in {None, "control"}
        return {
            "state": S.PROMOTED if won else S.STOPPED,
            "ended_at": now,
            "winner": winner,
            "sentence": "v3 was promoted." if won else f"Stopped: {body['reason']}",
        }

    def create(self, body: Any, username: str) -> ExperimentChangeOut:
        plan = ExperimentPlan.model_validate(body["plan"])
        if body["is_launched"] and self.blocked:
            raise Refused(409, "conflict", f"units: {self.blocked}")
        name = f"exp-new-{len(self.known)}"
        made = self.add(name, S.RUNNING if body["is_launched"] else S.DRAFT, plan, age=timedelta(0))
        self.known[name] = made = made.model_copy(update={"created_at": datetime.now(UTC), "created_by": username})
        action = "launch" if body["is_launched"] else "create"
        audit_id = self.audited(f"experiment.{action}", f"experiment/{name}", body["reason"], actor=username)
        return ExperimentChangeOut(experiment=made, epoch=self.releases.current.epoch + 1, audit_id=audit_id)

    def switch(self, body: Any, username: str) -> KillSwitchOut:
        if body["is_stopped"] == self.releases.is_stopped:
            raise Refused(409, "conflict", "experiments are stopped already" if self.releases.is_stopped else "experiments are not stopped")
        self.releases.is_stopped = body["is_stopped"]
        action = "experiments.stop_all" if self.releases.is_stopped else "experiments.go_on"
        audit_id = self.audited(action, "routes", body["reason"], actor=username)
        return KillSwitchOut(is_stopped=self.releases.is_stopped, epoch=self.releases.current.epoch + 1, audit_id=audit_id)
