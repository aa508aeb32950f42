"""What families, methods, job results and changes are called on the pages; the raw names stay in secondary places. Pure."""

from collections.abc import Mapping
from typing import Any

from console.wording import count, share
from trajops.contracts.audit import AuditOut
from trajops.contracts.drift import UNIT_RULE
from trajops.contracts.jobs import JobRunOut, job_title

_METHODS = {
    "psi": "PSI (nats)",
    "scale": "change of scale (1 = 100 %)",
    "auc": "area under the ROC curve",
    UNIT_RULE: "ratio of medians (×)",
    "wasserstein": "Wasserstein distance",
    "ks": "Kolmogorov–Smirnov",
}
# job → where in its result a count stands → what was counted; what is not named here is for the log
_COUNTS: dict[str, dict[str, str]] = {
    "join_truth": {
        "scored": "predictions scored",
        "completed": "scored to the end",
        "candidates": "waited for truth",
        "made_up": "scored late, after an outage",
    },
    "compact_lake": {
        "segments": "segments moved",
        "rows": "rows moved",
        "files": "files written",
        "merged": "files merged",
        "deleted": "old files deleted",
        "adopted": "segments of stopped writers taken over",
        "torn": "broken tails cut off",
        "quarantined": "unreadable lines set aside",
        "mended": "mended files taken back",
        "retired": "files past their time",
    },
    "roll_up": {
        "rolled": "hours summed up",
        "days": "files written",
    },
    "reconcile_aliases": {
        "set": "aliases set",
        "deleted": "aliases removed",
        "tagged": "states written",
        "missing": "aliases without a version in the registry",
        "removed": "deleted versions removed",
        "kept": "deleted versions that stay in the registry (see the log)",
        "adopted": "versions adopted",
        "adoptions": "versions waiting or refused (see Models)",
    },
    "shadow": {
        "predicted": "predicted in shadow",
        "failed": "predicted by the baseline, because the version failed",
        "dropped": "answers passed over",
    },
    "evaluate_alerts": {
        "steps.fired": "alerts fired",
        "steps.resolved": "alerts ended",
        "notifications": "messages written",
        "signals": "figures looked at",
    },
    "deliver_alerts": {
        "delivered": "messages arrived",
        "failed": "tries failed",
        "dead": "messages given up",
    },
    "answer_alerts": {
        "begun": "answers begun",
        "open": "answers under way",
    },
    "retrain": {
        "open": "answers under way",
    },
    "advance_rollouts": {
        "rollouts": "rollouts looked at",
        "moved": "steps taken, or ends",
    },
    "judge_experiments": {
        "experiments": "experiments looked at",
        "decided": "decisions",
    },
    "validate_versions": {
        "validated": "versions validated",
        "failed": "battery failed",
        "waiting": "waiting",
    },
    "run_tasks": {
        "state": "what came of it",
    },
    "prune": {
        "deleted.tasks": "old batch and training jobs forgotten",
        "deleted.job_runs": "old job runs forgotten",
        "deleted.drift_checks": "old drift checks forgotten",
        "deleted.performance_checks": "old performance checks forgotten",
        "deleted.idempotency_keys": "old idempotency keys forgotten",
        "deleted.probe_minutes": "old minutes of probes forgotten",
    },
}
_ACTIONS = {
    "deployment.stage": "Staged {subject}",
    "model.deleted": "Deleted {subject}",
    "model.validated": "Validated {subject}",
    "model.validation_asked": "Asked for a validation of {subject}",
    "deployment.canary": "Started the canary of {subject}",
    "deployment.canary_pause": "Paused the canary of {subject}",
    "deployment.canary_stop": "Stopped the canary of {subject}",
    "deployment.promote": "Promoted {subject}",
    "deployment.rollback": "Rolled back to {subject}",
    "task.started": "Started a batch or training job",
    "task.cancelled": "Cancelled a batch or training job",
    "task.done": "A batch or training job is done",
    "task.failed": "A batch or training job failed",
    "task.lost": "A worker left a batch or training job behind",
    "rollout.start": "Began a rollout",
    "rollout.next": "Took a rollout a step further",
    "rollout.follow": "A rollout followed what had happened",
    "rollout.roll_back": "Rolled a rollout back",
    "rollout.end": "Ended a rollout at its horizon",
    "rollout.approve": "Approved a rollout",
    "rollout.pause": "Paused a rollout",
    "rollout.resume": "Resumed a rollout",
    "rollout.stop": "Stopped a rollout",
    "experiment.create": "Planned an experiment",
    "experiment.launch": "Launched an experiment",
    "experiment.cover": "{covered} an experiment",
    "experiment.pause": "Paused an experiment",
    "experiment.stop": "{stopped} an experiment",
    "experiment.override": "Put a unit into an arm by hand",
    "experiment.decide_better": "Decided: better",
    "experiment.decide_no_worse": "Decided: no worse",
    "experiment.decide_worse": "Decided: worse, rolled back",
    "experiment.decide_guardrail": "Decided: a guardrail tripped, rolled back",
    "experiment.decide_inconclusive": "Decided: inconclusive",
    "experiment.decide_invalid": "Decided: data invalid, paused",
    "experiments.stop_all": "Stopped all experiments",
    "experiments.go_on": "Let experiments go on",
    "experiments.hold_out": "Changed who is held out of all experiments: {held_out}",
    "alert.fired": "Fired: {title}",
    "alert.acknowledged": "Acknowledged: {title}",
    "alert.assigned": "Assigned: {title}",
    "alert.escalated": "Escalated: {title}",
    "alert.silenced": "Silenced: {title}",
    "alert.unsilenced": "No longer silenced: {title}",
    "alert.resolved": "Resolved: {title}",
    "alert.changed": "Changed: {title}",
    "silence.create": "Created a silence",
    "silence.expire": "Ended a silence",
    "notification.resend": "Sent again to {subject}",
    "receiver.test": "Sent a test to {subject}",
    "answer.began": "Began to answer an alert",
    "answer.proposed": "Proposed an answer to an alert",
    "answer.approved": "Approved the answer to an alert",
    "answer.dismissed": "Dismissed the answer to an alert",
    "answer.ended": "Answered an alert",
    "drift.began": "Drift began",
    "drift.reference": "Drift reference chosen",
    "drift.muted": "Drift column muted",
    "drift.unmuted": "Drift column speaks again",
    "drift.ended": "Drift ended",
    "performance.degraded": "{subject} is worse than validated",
    "performance.recovered": "{subject} is as validated again",
    "calibration.propose": "Proposed a calibration of {subject}",
    "calibration.apply": "Calibrated the intervals of {subject}",
    "calibration.revert": "Took out a calibration of {subject}",
    "job.run": "Asked for a job: {subject}",
    "job.pause": "Paused a job: {subject}",
    "job.resume": "Resumed a job: {subject}",
    "model.load_unsafe": "Loaded {subject}, which runs code of its own",
    "user.create": "Created the user {subject}",
    "user.set_password": "Set the password of {subject}",
    "user.change_password": "{subject} changed their password",
    "user.set_role": "Changed the role of {subject}",
    "user.enable": "Enabled the user {subject}",
    "user.disable": "Disabled the user {subject}",
    "api_key.create": "Created the API key {subject}",
    "api_key.rotate": "Rotated the API key {subject}",
    "api_key.revoke": "Revoked the API key {subject}",
}


# Who acts under a name of its own process, which says nothing.
_PROCESSES = {"shell": "the command line", "api": "the API"}
_ACTORS = {"rules": "the rules", "delivery": "the delivery", "workers.training": "a training run"}


def method_words(method: str) -> str:
    """How a column was scored, with the unit of the score."""
    return _METHODS.get(method) or method.replace("_", " ")


def actor_words(actor: str) -> str:
    """Who made a change: a person's name, or the part of the product that acted by itself."""
    kind, _, name = actor.partition(":")
    if kind == "policy" and name:
        return f"the policy ({name.replace('_', ' ')})"
    if kind in _PROCESSES and name:
        return _PROCESSES[kind]
    return f"the workers ({job_title(name)})" if kind == "worker" and name else _ACTORS.get(actor, actor)


def result_words(job: str, result: Mapping[str, Any]) -> str:
    """A job's result as words: its own sentence, or what it counted; zeros are left out."""
    if isinstance(result.get("sentence"), str):
        return str(result["sentence"])
    counts = [(_count(result, path), words) for path, words in _COUNTS.get(job, {}).items()]
    return ", ".join(f"{words}: {count(n)}" for n, words in counts if n) or "nothing to do"


def run_words(run: JobRunOut) -> str:
    """What came of a run of a job: why it failed, or its result."""
    return run.error or result_words(run.job, run.result)


def action_words(entry: AuditOut) -> str:
    """What an audit entry says was done, as the start of a line."""
    template = _ACTIONS.get(entry.action)
    if template is None:
        return f"{entry.action.replace('_', ' ').replace('.', ' ').capitalize()} · {entry.subject}"
    is_draft = "discarded" in (entry.after.get("experiments") or {}).values()
    was_paused = "paused" in (entry.before.get("experiments") or {}).values()
    return template.format(
        subject=_subject(entry),
        title=entry.after.get("title") or "an alert",
        held_out=_held_out(entry),
        stopped="Discarded" if is_draft else "Stopped",
        covered="Resumed" if was_paused else "Changed the coverage of",
    )


def _subject(entry: AuditOut) -> str:
    kind = entry.action.partition(".")[0]
    if kind in {"deployment", "model", "performance", "calibration"}:
        return f"v{entry.subject.rpartition('/')[2]}"
    return job_title(entry.subject) if kind == "job" else entry.subject.removeprefix("key:").removeprefix("receiver/")


def _held_out(entry: AuditOut) -> str:
    route = entry.after.get("route")
    held_out = route.get("holdout") if isinstance(route, Mapping) else None
    return share(held_out[0]) if held_out and held_out[0] else "nobody"


def _count(result: Mapping[str, Any], path: str) -> int:
    """The number at a dotted path, or how much the list or mapping there holds."""
    value: Any = result
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return len(value) if isinstance(value, list | Mapping) else value if isinstance(value, int) else 0
