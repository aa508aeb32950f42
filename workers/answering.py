"""The steps of an answer: pause the rollout, roll back where that helps, train a challenger on recent tracks.

A step may be taken again after a crash. Each finds what it has done already in the control state, and goes on from there.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from trajops.clock import now
from trajops.contracts.deployments import ChangeOut
from trajops.contracts.experiments import ExperimentOut
from trajops.contracts.models import family_words
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.drift.doubt import trouble
from trajops.drift.gaps import Gap, LeftOut, Span, outside
from trajops.errors import BatteryFailed, InvalidInput, NotValidated, StaleVersion
from trajops.experiments.lifecycle import ROUTED
from trajops.experiments.routed import RoutedExperiment
from trajops.head_to_head import MIN_AGENTS, compare
from trajops.policy.answers import POLICY, Action, Answer, Outcome, StepState
from trajops.policy.decisions import VERSION_LABEL
from trajops.policy.rules import PolicyRules, RecentRule
from trajops.ports import Clock, Forecaster
from trajops.rollouts.lifecycle import ACTIVE
from trajops.services.comparisons import treatments
from trajops.services.deployments import Deployments
from trajops.services.drift_settings import as_told, told_of
from trajops.services.experiments import Experiments
from trajops.services.trust import Trust
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from trajops.telemetry import Served
from trajops.trajectories import Scene
from trajops.windows import Windows, cut, resample_scene

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

SOURCES: tuple[Served, ...] = ("live", "replay")
MAX_GAP_S = 1.0
CHECKED_WITHIN = timedelta(minutes=3)

NOTHING = LeftOut()

# What a change under a key of an answer has done to a version.
_DONE = {
    "rollback": "v{} is champion again",
    "retrain": "v{} is the challenger",
    "stage": "v{} is staged",
}

# Fits a family on scenes and registers it under a name of the data, with further parameters of the run; its version, and the windows
# that it has not seen.
Train = Callable[[Sequence[Scene], str, str, Mapping[str, str]], tuple[ModelRef, Windows]]


class AnswerSteps:
    """What each action does.

    Args:
        rules: of the policy.
        unit_of_work: opens a transaction.
        deployments: changes what is live.
        experiments: changes what is compared.
        lake: where recent tracks are read.
        load: brings a version into memory.
        train: see `Train`.
        families: that can be trained here.
        clock: what time it is.
        trust: what may be learnt from.
    """

    def __init__(
        self,
        rules: PolicyRules,
        unit_of_work: UnitOfWorkFactory,
        deployments: Deployments,
        experiments: Experiments,
        lake: "LakeReader",
        load: Callable[[ModelRef], Forecaster],
        train: Train,
        families: Sequence[str],
        clock: Clock,
        *,
        trust: Trust,
    ) -> None:
        self._rules = rules
        self._trust = trust
        self._unit_of_work = unit_of_work
        self._deployments = deployments
        self._experiments = experiments
        self._lake = lake
        self._load = load
        self._train = train
        self._families = families
        self._clock = clock

    @property
    def by_action(self) -> dict[Action, Callable[[Answer], Outcome]]:
        """What is called for each action."""
        return {"pause_rollout": self.pause_rollout, "rollback": self.rollback, "retrain": self.retrain}

    def pause_rollout(self, answer: Answer) -> Outcome:
        """Take the traffic from everybody who is compared live, whoever is worse: a comparison on changed traffic says nothing.

        Each experiment is paused once by an answer: one that somebody lets go on meanwhile goes on. One that is decided already comes back
        as decided.
        """
        with self._unit_of_work(read_only=True) as work:
            live = [one for one in work.routes.table().experiments if not one.is_shadow]
            known = {one.experiment_id: one for one in work.experiments.newest(states=ROUTED)}
            done = {one.experiment_id for one in live if work.idempotency.find(answer.actor, _pause_key(answer, one)) is not None}
        before = [one for one in live if not one.coverage and one.experiment_id not in done]
        is_late = False
        for routed in live:
            if routed.experiment_id in done or routed in before:
                continue
            try:
                self._pause(answer, routed, known.get(routed.experiment_id))
            except StaleVersion:  # the others are paused nevertheless
                is_late = True
            else:
                done.add(routed.experiment_id)
        if is_late:
            return Outcome(StepState.WAITING, "a comparison was changed at the same time; it is looked at again")
        if paused := [one for one in live if one.experiment_id in done]:
            return Outcome(StepState.DONE, _paused(paused, known), _versions(paused))
        if before:
            return Outcome(StepState.SKIPPED, _paused(before, known, was=True), _versions(before))
        return Outcome(StepState.SKIPPED, "no rollout is in progress")

    def _pause(self, answer: Answer, routed: RoutedExperiment, found: ExperimentOut | None) -> None:
        who = {"actor": answer.actor, "reason": _reason(answer), "idempotency_key": _pause_key(answer, routed)}
        if found is not None:
            self._experiments.pause(found.experiment_id, found.version, **who)
            return
        # A canary that the release before has begun has no record yet, and gets it with this.
        with self._unit_of_work(read_only=True) as work:
            deployment = work.deployments.of_model(routed.arms[-1].model)
        if deployment is not None:
            self._deployments.pause_canary(deployment.deployment_id, deployment.version, **who)

    def rollback(self, answer: Answer) -> Outcome:
        """Put the previous champion back, if the alert is about the present one and the previous one would be nearer to the truth."""
        if (done := self._done(answer, "rollback")) is not None:
            return done
        with self._unit_of_work(read_only=True) as work:
            route = work.routes.table()
        champion, previous = route.champion, route.previous
        refusal = _no_rollback(answer, route)
        if refusal is not None or champion is None or previous is None:
            return Outcome(StepState.SKIPPED, refusal or "there is no previous champion to return to")
        if (trouble := self._bad_data()) is not None:
            return Outcome(StepState.WAITING, trouble)
        rule, whole = self._rules.rollback, self._since(answer, self._rules.rollback)
        wrong, agents = NOTHING, self._seen(whole)
        if agents >= rule.min_agents:
            wrong = self._trust.wrong(whole, SOURCES)
            _, windows = self._recent(whole, wrong.gaps, rule)
            agents = _agents(windows)
        if agents < rule.min_agents:
            said = f"{agents} of {rule.min_agents} agents seen since, to compare the champions on{_said_of(wrong)}"
            return Outcome(StepState.WAITING, said)
        duel = compare(self._load(previous), self._load(champion), windows)
        said = f"v{previous.version} against v{champion.version}: {duel.sentence}"
        result = {"candidate_ade_m": duel.candidate_ade_m, "incumbent_ade_m": duel.incumbent_ade_m, "agents": duel.agents}
        if duel.verdict != "better":
            return Outcome(StepState.REFUSED, f"going back would not help; {said}", result)
        try:
            self._deployments.rollback(
                route.epoch, actor=answer.actor, reason=f"{_reason(answer)}; {said}"[:500], idempotency_key=_key(answer, "rollback")
            )
        except StaleVersion:
            return Outcome(StepState.WAITING, "the routes were changed at the same time; they are looked at again")
        return Outcome(StepState.DONE, f"v{previous.version} is champion again; {said}", {**result, "model_version": previous.version})

    def retrain(self, answer: Answer) -> Outcome:
        """Fit the champion's family on recent tracks, and let the new version challenge the champion, unless it is worse."""
        rule = self._rules.retrain
        dataset = f"recent traffic, answer {answer.answer_id[:12]}"
        with self._unit_of_work(read_only=True) as work:
            champion = work.routes.table().champion
            known = [] if champion is None else work.model_versions.all(champion.name)
            deleted = [] if champion is None else work.model_versions.deleted(champion.name)
        family = next((row.family for row in known if row.ref == champion), "")
        if champion is None:
            return Outcome(StepState.SKIPPED, "no model is deployed")
        if (before := self._before_training(answer, champion, family)) is not None:
            return before
        if (gone := next((row for row in deleted if row.params.get("dataset") == dataset), None)) is not None:
            return Outcome(StepState.REFUSED, f"v{gone.model_version} was trained, and somebody has deleted it; no other one is trained")
        made = next((row for row in known if row.params.get("dataset") == dataset), None)
        whole = self._since(answer, rule, None if made is None else made.created_at)
        if (seen := self._seen(whole)) < (rule.min_agents if made is None else MIN_AGENTS):
            return _too_few(None if made is None else made.ref, seen, rule)  # and nothing is judged
        left_out = self._trust.left_out(whole, SOURCES)
        gaps = as_told(whole, left_out.gaps)
        scenes, windows = self._recent(whole, gaps, rule)
        if made is None:
            if (agents := _agents(windows)) < rule.min_agents:
                return _too_few(None, agents, rule, left_out)
            learnt = whole._replace(until=_kept(gaps, whole)[-1].until)
            try:
                ref, unseen = self._train(scenes, family, dataset, told_of(learnt, gaps))
            except InvalidInput as error:  # agents enough, and not seen for long enough yet
                return Outcome(StepState.WAITING, error.message)
        else:  # trained before, and it has seen nothing of what came after
            ref, unseen = made.ref, windows
        duel = compare(self._load(ref), self._load(champion), unseen)
        if duel.agents < MIN_AGENTS:
            return _too_few(ref, duel.agents, rule, left_out)
        said = f"v{ref.version} ({family_words(family)}) against v{champion.version} on agents it was not fitted on: {duel.sentence}"
        result = {"model_version": ref.version, "candidate_ade_m": duel.candidate_ade_m, "incumbent_ade_m": duel.incumbent_ade_m}
        if duel.verdict != "better":
            return Outcome(StepState.REFUSED, f"trained and registered, but not clearly better; {said}", result)
        try:
            challenged = self._challenge(ref, answer, said)
        except BatteryFailed as error:
            return Outcome(StepState.REFUSED, f"trained and registered, but its battery has failed: {error.message}; {said}"[:2000], result)
        except NotValidated as error:
            return Outcome(StepState.WAITING, f"v{ref.version} is trained; {error.message}")
        return Outcome(StepState.DONE, f"{challenged}; {said}", {**result, "agents": duel.agents})

    def _before_training(self, answer: Answer, champion: ModelRef, family: str) -> Outcome | None:
        """What makes training needless or impossible now; None where nothing does."""
        if (done := self._done(answer, "retrain")) is not None:
            return done
        if (other := _is_about_another(answer, champion)) is not None:
            return Outcome(StepState.SKIPPED, other)
        if (trouble := self._bad_data()) is not None:
            return Outcome(StepState.WAITING, trouble)
        if family not in self._families:
            return Outcome(StepState.REFUSED, f"v{champion.version} is a {family}, which is not trained here; train it where it was made")
        return None

    def _challenge(self, ref: ModelRef, answer: Answer, said: str) -> str:
        """Stage a version and let it challenge the champion, as far as nothing else is under way; what was done, in words."""
        who = {"actor": answer.actor, "reason": f"{_reason(answer)}; {said}"[:500]}
        name = f"v{ref.version}"
        with self._unit_of_work(read_only=True) as work:
            route, deployment = work.routes.table(), work.deployments.of_model(ref)
            rivals = [one for one in route.experiments if not one.is_shadow]
            obstacle = _obstacle(work, rivals)
            paused = [work.deployments.of_model(compared) for rival in rivals for compared in treatments(rival)]
        if deployment is None:
            deployment = self._deployments.stage(ref.version, **who, idempotency_key=_key(answer, "stage")).deployment
        if any(ref in treatments(one) for one in route.experiments):
            return f"{name} is the challenger"
        if not self._rules.retrain.coverage:
            return f"{name} is staged"
        if obstacle is not None:
            return f"{name} is staged, because {obstacle}"
        for rival in filter(None, paused):
            self._deployments.stop_canary(rival.deployment_id, rival.version, **who)
        coverage, key = self._rules.retrain.coverage, _key(answer, "retrain")
        self._deployments.start_canary(deployment.deployment_id, deployment.version, coverage, **who, idempotency_key=key)
        return f"{name} is the challenger on {100 * coverage:.0f} % of the agents"

    def recall(self, answer: Answer) -> Outcome | None:
        """What the next step has done already, though that is not on record: the process was killed in between."""
        step = answer.next_step
        if step is None:
            return None
        if step.action == "pause_rollout":
            with self._unit_of_work(read_only=True) as work:
                live = [one for one in work.routes.table().experiments if not one.is_shadow]
                paused = [one for one in live if work.idempotency.find(answer.actor, _pause_key(answer, one)) is not None]
                known = {one.experiment_id: one for one in work.experiments.newest(states=ROUTED)}
            return Outcome(StepState.DONE, _paused(paused, known), _versions(paused)) if paused else None
        return self._done(answer, step.action) or (self._done(answer, "stage") if step.action == "retrain" else None)

    def _done(self, answer: Answer, change: str) -> Outcome | None:
        """A change that this answer has made under its key."""
        with self._unit_of_work(read_only=True) as work:
            done = work.idempotency.find(answer.actor, _key(answer, change))
        if done is None:
            return None
        version = ChangeOut.model_validate(done.response).deployment.model_version
        return Outcome(StepState.DONE, _DONE[change].format(version), {"model_version": version})

    def _bad_data(self) -> str | None:
        """Why nothing can be learnt from the traffic of now; None where nothing speaks against it."""
        with self._unit_of_work(read_only=True) as work:
            check = work.drift_checks.latest()
        return None if check is None or now(self._clock) - check.at > CHECKED_WITHIN else trouble(check)

    def _since(self, answer: Answer, rule: RecentRule, after: datetime | None = None) -> Span:
        """From when the trouble began, or from a later time on, until now."""
        at = now(self._clock)
        begins = [at - timedelta(seconds=rule.window_s), answer.alert_opened_at - timedelta(seconds=rule.before_s), after]
        return Span(max(filter(None, begins)), at)

    def _seen(self, whole: Span) -> int:
        """How many agents were seen at all."""
        from data.lake.tracks import recorded_agents  # noqa: PLC0415

        return recorded_agents(self._lake, *whole, SOURCES)

    def _recent(self, whole: Span, without: Sequence[Gap], rule: RecentRule) -> tuple[list[Scene], Windows]:
        """Tracks of a range without some parts of it, and the windows in them."""
        from data.lake.tracks import recorded_scenes  # noqa: PLC0415

        scenes = []
        if _kept(without, whole):
            scenes = recorded_scenes(self._lake, *whole, SOURCES, max_agents=rule.max_agents, without=without)
        return scenes, Windows.concatenate([cut(resample_scene(scene, max_gap_s=MAX_GAP_S)) for scene in scenes])


def _too_few(trained: ModelRef | None, agents: int, rule: RecentRule, left_out: LeftOut = NOTHING) -> Outcome:
    """More agents are waited for: to train on, or to try on what is trained already."""
    if trained is None:
        said = f"{agents} of {rule.min_agents} agents seen since, to train on{_said_of(left_out)}"
    else:
        said = f"v{trained.version} is trained; {agents} of {MIN_AGENTS} agents seen to try it on{_said_of(left_out)}"
    return Outcome(StepState.WAITING, said)


def _said_of(left_out: LeftOut) -> str:
    """What is missing, in words; empty where nothing is."""
    return f"; {left_out.sentence}" if left_out.sentence else ""


def _kept(gaps: Sequence[Gap], whole: Span) -> list[Span]:
    """The parts of a range that are not left out of all scenes."""
    return outside([Span(gap.since, gap.until) for gap in gaps if gap.scene is None], whole)


def _no_rollback(answer: Answer, route: RouteTable) -> str | None:
    """Why a rollback is out of the question; None where it is not."""
    if route.champion is None or route.previous is None:
        return "there is no previous champion to return to"
    return _is_about_another(answer, route.champion)


def _is_about_another(answer: Answer, champion: ModelRef) -> str | None:
    """That an alert is about another version than the champion, in words; None where it is not."""
    about = answer.labels.get(VERSION_LABEL)
    return None if about in {None, str(champion.version)} else f"the alert is about v{about}, and the champion is v{champion.version}"


def _obstacle(work: UnitOfWork, rivals: Sequence[RoutedExperiment]) -> str | None:
    """Why no canary may begin beside, or in place of, what is being compared; None where earlier answers' paused canaries are all there is.

    What somebody else has begun is theirs to end.
    """
    for rollout in work.rollouts.newest(states=ACTIVE, limit=1):
        return f"v{rollout.model_version} is being rolled out"
    makers = {one.experiment_id: one.created_by for one in work.experiments.newest(states=ROUTED)}
    for rival in rivals:
        compared = " and ".join(f"v{version}" for version in _compared([rival]))
        if rival.coverage:
            return f"{compared} is being compared"
        if not makers.get(rival.experiment_id, "").startswith(POLICY):
            return f"the comparison of {compared} is paused, and not begun by an answer"
    return None


def _key(answer: Answer, change: str) -> str:
    return f"{answer.answer_id}:{change}"


def _pause_key(answer: Answer, routed: RoutedExperiment) -> str:
    return f"{answer.answer_id}:pause:{routed.experiment_id}"


def _compared(experiments: Sequence[RoutedExperiment]) -> list[int]:
    """The versions that are compared with the champion; of an experiment of one version with itself, that version."""
    return list(dict.fromkeys(arm.model.version for one in experiments for arm in one.arms[1:]))


def _paused(experiments: Sequence[RoutedExperiment], known: Mapping[str, ExperimentOut], *, was: bool = False) -> str:
    """That what is compared is paused, or was before; each by the name that people know it by."""
    *others, last = (_name(one, known.get(one.experiment_id)) for one in experiments)
    names = f"{', '.join(others)} and {last}" if others else last
    verb = ("were" if others else "was") if was else ("are" if others else "is")
    return f"{names} {verb} paused{' before' if was else ''}"


def _name(routed: RoutedExperiment, found: ExperimentOut | None) -> str:
    """An experiment in words; one without a record is a canary that the release before has begun."""
    canary = f"canary of v{routed.arms[-1].model.version}"
    if found is None or found.plan.name == canary:
        return f"the {canary}"
    return f"the experiment “{found.plan.name}” ({', '.join(f'v{version}' for version in _compared([routed]))})"


def _versions(experiments: Sequence[RoutedExperiment]) -> dict[str, Any]:
    versions = _compared(experiments)
    return {"model_version": versions[0]} | ({"model_versions": versions} if len(versions) > 1 else {})


def _agents(windows: Windows) -> int:
    return len(set(zip(windows.scene_ids, windows.agent_ids, strict=True)))


def _reason(answer: Answer) -> str:
    return f"answers the alert “{answer.alert_title}”"
