"""What the pages read of experiments."""

from console import session
from trajops.contracts.audit import AuditPage
from trajops.contracts.deployments import RouteHistoryOut
from trajops.contracts.experiments import (
    ExperimentErrorsOut,
    ExperimentOut,
    ExperimentSliceBy,
    ExperimentSlicesOut,
    ExperimentsOut,
    VerdictsOut,
)

LIMIT = 100
AUDIT_LIMIT = 200


def read_experiments() -> session.Fetched[ExperimentsOut]:
    """All experiments, newest first."""
    return session.fetch("experiments", lambda c: c.experiments(LIMIT))


def read_one(experiment_id: str) -> session.Fetched[ExperimentOut]:
    """One experiment, however old."""
    return session.fetch(f"experiment:{experiment_id}", lambda c: c.experiment(experiment_id))


def read_verdicts(experiment_id: str) -> session.Fetched[VerdictsOut]:
    """How its verdict went; kept sparsely, so that it need not be read at every refresh."""
    return session.fetch(f"verdicts:{experiment_id}", lambda c: c.verdicts(experiment_id), max_age_s=4.0)


def read_slices(experiment_id: str, by: ExperimentSliceBy) -> session.Fetched[ExperimentSlicesOut]:
    """An experiment taken apart; costly, so that it is not read at every refresh."""
    return session.fetch(f"slices:{experiment_id}:{by}", lambda c: c.experiment_slices(experiment_id, by), max_age_s=5.0)


def read_errors(experiment_id: str) -> session.Fetched[ExperimentErrorsOut]:
    """How the errors of its units are spread; as costly."""
    return session.fetch(f"errors:{experiment_id}", lambda c: c.experiment_errors(experiment_id), max_age_s=5.0)


def own_audit(experiment_id: str) -> session.Fetched[AuditPage]:
    """Changes of one experiment, newest first."""
    return session.fetch(f"audit:experiment:{experiment_id}", lambda c: c.audit(limit=AUDIT_LIMIT, subject=f"experiment/{experiment_id}"))


def recent_audit() -> session.Fetched[AuditPage]:
    """Newest changes of anything: a promotion of another version ends an experiment, too."""
    return session.fetch("audit:recent", lambda c: c.audit(limit=AUDIT_LIMIT), max_age_s=10.0)


def read_routes() -> session.Fetched[RouteHistoryOut]:
    """The present routes, which tell whether the kill switch is pressed."""
    return session.fetch("routes:current", lambda c: c.routes(1))
