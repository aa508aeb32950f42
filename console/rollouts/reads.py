"""What the Models page reads of rollouts."""

from console import session
from trajops.contracts.audit import AuditPage
from trajops.contracts.rollouts import RolloutOut, RolloutPoliciesOut, RolloutsOut


def read_rollouts() -> session.Fetched[RolloutsOut]:
    """Rollouts, newest first."""
    return session.fetch("rollouts", lambda c: c.rollouts(20))


def known_rollouts() -> list[RolloutOut]:
    """The same; none while they cannot be read, since the API refuses what they forbid."""
    read = read_rollouts().value
    return [] if read is None else read.rollouts


def read_policies() -> session.Fetched[RolloutPoliciesOut]:
    """What a rollout may follow."""
    return session.fetch("rollout-policies", lambda c: c.rollout_policies(), max_age_s=30.0)


def own_audit(rollout_id: str) -> session.Fetched[AuditPage]:
    """Changes of one rollout, newest first."""
    return session.fetch(f"audit:rollout:{rollout_id}", lambda c: c.audit(limit=100, subject=f"rollout/{rollout_id}"))
