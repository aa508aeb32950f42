"""Versions, routes and the audit of the stub API, and the changes that it can make of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from tests.record_builders import validation
from trajops.contracts.audit import AuditOut, AuditPage
from trajops.contracts.deployments import ChangeOut, DeploymentOut, DeploymentsOut, ModelRefOut, RouteHistoryOut, RouteOut
from trajops.contracts.models import AdoptionOut, DeletionOut, ModelsOut, ModelVersionOut
from trajops.contracts.validations import ValidationAskedOut, ValidationBriefOut, ValidationOut

MATCH = {"data_fingerprint": "sha256:9f1c"}
TRACKS = {
    **{v: {**MATCH, "dataset": "match first half"} for v in (1, 2, 3)},
    4: MATCH,  # adopted
    5: {"data_fingerprint": "sha256:77aa", "dataset": "my_tracks.csv"},
}


def ref(version: int | None) -> ModelRefOut | None:
    return None if version is None else ModelRefOut(model_name="trajectory", model_version=version)


class StubReleases:
    """A champion, a challenger and a previous champion; empty for a product that has just been installed.

    Attributes:
        conflict_next: whether somebody else is faster with the next change.
    """

    def __init__(self, started: datetime, *, is_empty: bool) -> None:
        self.started = started
        self.conflict_next = False
        self.adoptions: list[AdoptionOut] = []
        self.history: list[RouteOut] = []
        self.is_stopped = False
        self.held_out = 0.0
        self.states: dict[int, str] = {} if is_empty else {1: "retired", 2: "live", 3: "canary", 4: "staged", 5: "registered"}
        self.versions: dict[int, int] = dict.fromkeys(self.states, 3)
        self.audit: list[AuditOut] = []
        self.asked: set[int] = set()
        self.validations = {v: validation(v, at=started - timedelta(hours=1)) for v in self.states}
        if not is_empty:
            for epoch, minutes, champion, challenger, previous, coverage, reason in (
                (1, 170, 1, None, None, 0.0, "first model of the demo"),
                (2, 95, 2, None, 1, 0.0, "better FDE on the held-out half"),
                (3, 40, 2, 3, 1, 0.2, "compare the boosted family on a fifth of the agents"),
            ):
                self.route(champion, challenger, previous, coverage, reason, at=self.started - timedelta(minutes=minutes), epoch=epoch)

    def route(self, champion, challenger, previous, coverage, reason, *, at=None, epoch=None, actor="ada") -> None:
        self.history.insert(
            0,
            RouteOut(
                epoch=epoch or self.current.epoch + 1,
                champion=ref(champion),
                challenger=ref(challenger),
                previous=ref(previous),
                coverage=coverage,
                changed_at=at or datetime.now(UTC),
                actor=actor,
                reason=reason,
            ),
        )
        self.audit.insert(
            0,
            AuditOut(
                audit_id=f"aud-{len(self.audit) + 1:04d}",
                at=at or datetime.now(UTC),
                actor=actor,
                action="deployment.promote" if challenger is None else "deployment.canary",
                subject=f"trajectory/{challenger or champion}",
                reason=reason,
                before={},
                after={},
            ),
        )

    @property
    def current(self) -> RouteOut:
        nothing = RouteOut(epoch=1, champion=None, challenger=None, previous=None, coverage=0.0, changed_at=None, actor=None, reason=None)
        return next(iter(self.history), nothing).model_copy(update={"is_stopped": self.is_stopped, "held_out": self.held_out})

    def models(self, **_: Any) -> ModelsOut:
        families = {1: "constant_velocity", 2: "kalman", 3: "gaussian_mlp", 4: "gradient_boosting", 5: "gaussian_mlp"}
        return ModelsOut(
            model_name="trajectory",
            adoptions=self.adoptions,
            versions=[
                ModelVersionOut(
                    model_name="trajectory",
                    model_version=v,
                    family=families[v],
                    run_id=f"run{v}",
                    run_url=f"http://127.0.0.1:5000/#/experiments/1/runs/run{v}",
                    created_at=self.started - timedelta(hours=5 - v / 2),
                    aliases=["champion"] if self.current.champion and self.current.champion.model_version == v else [],
                    metrics={
                        "val_ade_m": 0.62 - 0.045 * v,
                        "val_fde_m": 1.31 - 0.09 * v,
                        "val_miss_rate": 0.19 - 0.02 * v,
                        "val_nll": 2.4 - 0.2 * v,
                        "val_coverage_90": 0.86 + 0.012 * v,
                        "val_latency_ms": 0.08 + 0.06 * v,
                    },
                    params={**TRACKS[v], "git_commit": "f67ad56d0c"},
                    deployment_id=None if s == "registered" else f"dep-{v}",
                    state=s,
                    version=None if s == "registered" else self.versions[v],
                    is_warm=s in {"live", "canary", "staged"},
                    validation=ValidationBriefOut.of(self.validations[v]) if v in self.validations else None,
                    is_validation_asked=v in self.asked,
                )
                for v, s in sorted(self.states.items(), reverse=True)
            ],
        )

    def deployments(self, **_: Any) -> DeploymentsOut:
        return DeploymentsOut(deployments=[self.deployment(v) for v, s in self.states.items() if s != "registered"])

    def routes(self, **_: Any) -> RouteHistoryOut:
        return RouteHistoryOut(current=self.current, history=self.history)

    def audited(self, subject: str | None = None, **_: Any) -> AuditPage:
        return AuditPage(entries=[e for e in self.audit if subject in {None, e.subject}])

    def validation(self, version: int) -> ValidationOut:
        if version not in self.validations:
            raise Refused(404, "not_found", f"trajectory/{version} has not been validated yet")
        return self.validations[version]

    def read(self, path: str) -> Any:
        _, _, _, version, what = path.split("/")
        return self.card(int(version)) if what == "card" else self.validation(int(version))

    def card(self, version: int) -> str:
        return f"# Model card: trajectory v{self.validation(version).model_version}\n\n## Data\n\n| fact | value |\n|---|---|\n| a | b |\n"

    def delete(self, version: int, username: str) -> DeletionOut:
        """A version that is listed no more."""
        if self.conflict_next:
            self.overtake()
            raise Refused(409, "conflict", f"trajectory/{version} is live; promote another version first")
        del self.states[version]
        return DeletionOut(
            model_name="trajectory",
            model_version=version,
            deleted_at=datetime.now(UTC),
            by=username,
            audit_id="audit-deleted",
            job="reconcile_aliases",
        )

    def ask(self, version: int) -> ValidationAskedOut:
        self.asked.add(version)
        return ValidationAskedOut(
            model_name="trajectory", model_version=version, asked_at=datetime.now(UTC), by="ada", job="validate_versions"
        )

    def overtake(self) -> None:
        """Somebody else promotes v4 before the next change arrives."""
        self.conflict_next = False
        self.states |= {2: "retired", 3: "staged", 4: "live"}
        self.versions |= dict.fromkeys((2, 3, 4), 4)
        self.route(4, None, 2, 0.0, "boosted model wins everywhere", actor="ben")

    def changed(self, version: int, after: str, body: dict[str, Any], route: tuple[Any, ...] | None) -> ChangeOut:
        if self.conflict_next:
            self.overtake()
            raise Refused(409, "stale_version", "deployment dep-3 has version 4, not 3: somebody changed it; read it again and repeat")
        self.states[version] = after
        self.versions[version] = self.versions.get(version, 0) + 1
        if route is not None:
            self.route(*route, body["reason"])
        else:
            self.audit.insert(
                0,
                AuditOut(
                    audit_id=f"aud-{len(self.audit) + 1:04d}",
                    at=datetime.now(UTC),
                    actor="ada",
                    action="deployment.stage",
                    subject=f"trajectory/{version}",
                    reason=body["reason"],
                    before={},
                    after={},
                ),
            )
        return ChangeOut(deployment=self.deployment(version), route=self.current, audit_id=self.audit[0].audit_id)

    def deployment(self, version: int) -> DeploymentOut:
        return DeploymentOut(
            deployment_id=f"dep-{version}",
            model_name="trajectory",
            model_version=version,
            state=self.states[version],
            version=self.versions[version],
            created_at=self.started,
            updated_at=datetime.now(UTC),
        )

    def change(self, path: str, body: dict[str, Any]) -> ChangeOut:
        now = self.current
        champion = now.champion.model_version if now.champion else None
        if path == "/v1/deployments":
            return self.changed(body["model_version"], "staged", body, None)
        if path == "/v1/routes/rollback":
            if now.previous is None:
                raise Refused(409, "conflict", "there is no previous champion")
            back = now.previous.model_version
            self.states[champion] = "rolled_back"
            return self.changed(back, "live", body, (back, None, champion, 0.0))
        version = int(path.split("/")[3].removeprefix("dep-"))
        if path.endswith("/canary"):
            return self.changed(version, "canary", body, (champion, version, now.previous and now.previous.model_version, body["coverage"]))
        if path.endswith("/canary/pause"):
            return self.changed(version, "paused", body, (champion, version, now.previous and now.previous.model_version, 0.0))
        if path.endswith("/canary/stop"):
            return self.changed(version, "staged", body, (champion, None, now.previous and now.previous.model_version, 0.0))
        made = self.changed(version, "live", body, (version, None, champion, 0.0))
        if champion is not None:
            self.states[champion] = "retired"
        return made
