"""What an operator is told whose change came too late: what changed meanwhile, that nothing was done, what to do next. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from console.names import actor_words
from console.wording import ago, share, state_mark
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import ModelRefOut, RouteOut
from trajops.contracts.models import ModelsOut


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stood for one version at one moment.

    Attributes:
        route: who answered whom.
        state: of the version's deployment; None where the version is not listed.
        version: of the deployment; None before the first change.
    """

    route: RouteOut
    state: str | None
    version: int | None

    @classmethod
    def of(cls, models: ModelsOut | None, route: RouteOut, model_version: int) -> "Standing":
        """As the API told it; without a state where the versions could not be read."""
        found = next((v for v in models.versions if v.model_version == model_version), None) if models is not None else None
        return cls(route, found.state if found else None, found.version if found else None)


def last_release_change(entries: Sequence[AuditOut]) -> AuditOut | None:
    """The newest of some audit entries that changed a deployment or a route."""
    return next((entry for entry in entries if entry.action.startswith("deployment.")), None)


def conflict_sentence(
    label: str, model_version: int, seen: Standing, present: Standing, last: AuditOut | None, *, detail: str, now: datetime
) -> str:
    """The whole message after a refused change.

    Args:
        label: of the button that was pressed, for example “Promote”.
        model_version: the version that the change was about.
        seen: when the button was drawn.
        present: after the refusal.
        last: the newest change of a deployment or a route, where it is known.
        detail: what the API said; shown where no change can be seen.
        now: aware time.
    """
    found = changes_between(model_version, seen, present)
    if not found:
        return (
            f"Nothing was done: {detail.removesuffix('.')}. The page has been read again: look at how things stand now, "
            f"and press “{label}” once more if it is still right."
        )
    by = f" ({actor_words(last.actor)}, {ago(last.at, now)}: “{last.reason}”)" if last is not None else ""
    return (
        f"Nothing was done, because something changed while you were deciding: {'; '.join(found)}{by}. The page has been read again: "
        f"compare the versions as they stand now, and press “{label}” once more if it is still right."
    )


def changes_between(model_version: int, seen: Standing, present: Standing) -> list[str]:
    """What is different, one clause each; empty where nothing is."""
    found = []
    if seen.state != present.state and seen.state and present.state:
        found.append(f"v{model_version} went from {_word(seen.state)} to {_word(present.state)}")
    for role, before, after in (
        ("champion", seen.route.champion, present.route.champion),
        ("challenger", seen.route.challenger, present.route.challenger),
        ("previous champion", seen.route.previous, present.route.previous),
    ):
        if before != after:
            found.append(_succession(role, before, after))
    if seen.route.challenger is not None and seen.route.challenger == present.route.challenger:
        before_share, after_share = share(seen.route.coverage, 0), share(present.route.coverage, 0)
        if before_share != after_share:
            found.append(f"the canary enrols {after_share} of agents, no longer {before_share}")
    if not found and seen.version != present.version and present.state:
        found.append(f"v{model_version} was changed and is {_word(present.state)} again")
    return found


def _succession(role: str, before: ModelRefOut | None, after: ModelRefOut | None) -> str:
    if after is None:
        return f"there is no {role} any more" + (f", it was v{before.model_version}" if before else "")
    return f"v{after.model_version} is the {role}" + (f", no longer v{before.model_version}" if before else " now")


def _word(state: str) -> str:
    return state_mark(state).word.lower()
