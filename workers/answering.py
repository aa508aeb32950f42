"""The steps of an answer: pause the rollout, roll back where that helps, train a challenger on recent tracks.

A step may be taken again after a crash. Each finds what it has done already in the control state, and goes on from there.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from trajops.clock import now
from trajops.contracts.deployments import ChangeOut
from trajops.contracts.experiments import ExperimentOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.drift.doubt import doubtful, trouble
from trajops.errors import BatteryFailed, InvalidInput, NotValidated, StaleVersion
from trajops.experiments.lifecycle import ROUTED, ExperimentState
from trajops.experiments.routed import RoutedExperiment
from trajops.head_to_head import MIN_AGENTS, compare
from trajops.policy.answers import Action, Answer, Outcome, StepState
from trajops.policy.decisions import VERSION_LABEL
from trajops.policy.rules import PolicyRules, RecentRule
from trajops.ports import Clock, Forecaster
from trajops.services.deployments import Deployments
from trajops.services.drift_settings import TRAINED_SINCE, TRAINED_UNTIL
from trajops.services.experiments import Experiments
from trajops.stores import UnitOfWorkFactory
from trajops.telemetry import Served
from trajops.trajectories import Scene
from trajops.windows import Windows, cut, resample_scene

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

SOURCES: tuple[Served, ...] = ("live", "replay")
MAX_GAP_S = 1.0
CHECKED_WITHIN = timedelta(minutes=3)

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
        checked_s: newest part of the traffic that a drift check tells units and quality by, seconds.
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
        checked_s: float = 60.0,
    ) -> None:
        self._rules = rules
        self._checked_s = checked_s
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

        Each experiment is paused once by an answer: one that somebody lets go on meanwhile goes on. One that is decided already has no
        comparison left to spoil, and is left to who has to approve it.
        """
        with self._unit_of_work(read_only=True) as work:
            live = [one for one in work.routes.table().experiments if not one.is_shadow]
            known = {one.experiment_id: one for one in work.experiments.newest(states=ROUTED)}
            done = {one.experiment_id for one in live if work.idempotency.find(answer.actor, _pause_key(answer, one)) is not None}
        before = [one for one in live if not one.coverage and one.experiment_id not in done]
        is_late = False
        for routed in live:
            found = known.get(routed.experiment_id)
            is_decided = found is not None and found.state == ExperimentState.RECOMMENDED
            if routed.experiment_id in done or routed in before or is_decided:
                continue
            try:
                self._pause(answer, routed, found)
            except StaleVersion:  # the others are paused nevertheless
                is_late = True
            else:
                done.add(routed.experiment_id)
        if is_late:
            return Outcome(StepState.WAITING, "a comparison was changed at the same time; it is looked at again")
        if paused := [one for one in live if one.experiment_id in done]:
            return Outcome(StepState.DONE, f"{_canaries(paused)} paused", _versions(paused))
        if before:
            return Outcome(StepState.SKIPPED, f"{_canaries(before, was=True)} paused before", _versions(before))
        if live:
            return Outcome(StepState.SKIPPED, "what is compared is decided already, and waits for approval")
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
        if (done := self._rolled_back(answer)) is not None:
            return done
        with self._unit_of_work(read_only=True) as work:
            route = work.routes.table()
        champion, previous = route.champion, route.previous
        refusal = _no_rollback(answer, route)
        if refusal is not None or champion is None or previous is None:
            return Outcome(StepState.SKIPPED, refusal or "there is no previous champion to return to")
        if (trouble := self._bad_data()) is not None:
            return Outcome(StepState.WAITING, trouble)
        rule = self._rules.rollback
        _, windows = self._recent(answer, rule)
        if (agents := _agents(windows)) < rule.min_agents:
            return Outcome(StepState.WAITING, f"{agents} of {rule.min_agents} agents seen since, to compare the champions on")
        duel = compare(self._load(previous), self._load(champion), windows)
        said = f"v{previous.version} against v{champion.version}: {duel.sentence}"
        result = {"candidate_ade_m": duel.candidate_ade_m, "incumbent_ade_m": duel.incumbent_ade_m, "agents": duel.agents}
        if duel.verdict != "better":
            return Outcome(StepState.REFUSED, f"going back would not help; {said}", result)
        try:
            self._deployments.rollback(
                route.epoch, actor=answer.actor, reason=f"{_reason(answer)}; {said}"[:500], idempotency_key=_key(answer)
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
        if champion is None:
            return Outcome(StepState.SKIPPED, "no model is deployed")
        if (other := _is_about_another(answer, champion)) is not None:
            return Outcome(StepState.SKIPPED, other)
        if (trouble := self._bad_data()) is not None:
            return Outcome(StepState.WAITING, trouble)
        family = next(row.family for row in known if row.ref == champion)
        if family not in self._families:
            return Outcome(StepState.REFUSED, f"v{champion.version} is a {family}, which is not trained here; train it where it was made")
        made = next((row for row in known if row.params.get("dataset") == dataset), None)
        scenes, windows = self._recent(answer, rule, None if made is None else made.created_at, is_vouched=True)
        if made is None:
            if (agents := _agents(windows)) < rule.min_agents:
                return Outcome(StepState.WAITING, f"{agents} of {rule.min_agents} agents seen since, to train on")
            at = now(self._clock)
            told = {TRAINED_SINCE: self._since(answer, rule, at).isoformat(), TRAINED_UNTIL: at.isoformat()}
            try:
                ref, unseen = self._train(scenes, family, dataset, told)
            except InvalidInput as error:  # agents enough, and not seen for long enough yet
                return Outcome(StepState.WAITING, error.message)
        else:  # trained before, and it has seen nothing of what came after
            ref, unseen = made.ref, windows
        duel = compare(self._load(ref), self._load(champion), unseen)
        if duel.agents < MIN_AGENTS:
            return Outcome(StepState.WAITING, f"v{ref.version} is trained; {duel.agents} of {MIN_AGENTS} agents seen to try it on")
        said = f"v{ref.version} ({family.replace('_', ' ')}) against v{champion.version} on agents it was not fitted on: {duel.sentence}"
        result = {"model_version": ref.version, "candidate_ade_m": duel.candidate_ade_m, "incumbent_ade_m": duel.incumbent_ade_m}
        if duel.verdict != "better":
            return Outcome(StepState.REFUSED, f"trained and registered, but not clearly better; {said}", result)
        try:
            done = self._challenge(ref, answer, said)
        except BatteryFailed as error:
            return Outcome(StepState.REFUSED, f"trained and registered, but its battery has failed: {error.message}; {said}"[:2000], result)
        except NotValidated as error:
            return Outcome(StepState.WAITING, f"v{ref.version} is trained; {error.message}")
        return Outcome(StepState.DONE, f"{done}; {said}", {**result, "agents": duel.agents})

    def _challenge(self, ref: ModelRef, answer: Answer, said: str) -> str:
        """Stage a version and let it challenge the champion, as far as nobody else does; what was done, in words."""
        who = {"actor": answer.actor, "reason": f"{_reason(answer)}; {said}"[:500]}
        name = f"v{ref.version}"
        with self._unit_of_work(read_only=True) as work:
            route, deployment = work.routes.table(), work.deployments.of_model(ref)
            rival = None if route.challenger is None else work.deployments.of_model(route.challenger)
        if deployment is None:
            deployment = self._deployments.stage(ref.version, **who).deployment
        if route.challenger == ref:
            return f"{name} is the challenger"
        if not self._rules.retrain.coverage:
            return f"{name} is staged"
        if rival is not None and rival.state != State.PAUSED:
            return f"{name} is staged, because v{rival.model_version} is being compared"
        if rival is not None:
            self._deployments.stop_canary(rival.deployment_id, rival.version, **who)
        self._deployments.start_canary(deployment.deployment_id, deployment.version, self._rules.retrain.coverage, **who)
        return f"{name} is the challenger on {100 * self._rules.retrain.coverage:.0f} % of the agents"

    def recall(self, answer: Answer) -> Outcome | None:
        """What the next step has done already, though that is not on record: the process was killed in between."""
        step = answer.next_step
        return self._rolled_back(answer) if step is not None and step.action == "rollback" else None

    def _rolled_back(self, answer: Answer) -> Outcome | None:
        with self._unit_of_work(read_only=True) as work:
            done = work.idempotency.find(answer.actor, _key(answer))
        if done is None:
            return None
        version = ChangeOut.model_validate(done.response).deployment.model_version
        return Outcome(StepState.DONE, f"v{version} is champion again", {"model_version": version})

    def _bad_data(self) -> str | None:
        """Why nothing can be learnt from the traffic of now; None where nothing speaks against it."""
        with self._unit_of_work(read_only=True) as work:
            check = work.drift_checks.latest()
        return None if check is None or now(self._clock) - check.at > CHECKED_WITHIN else trouble(check)

    def _recent(
        self, answer: Answer, rule: RecentRule, after: datetime | None = None, *, is_vouched: bool = False
    ) -> tuple[list[Scene], Windows]:
        """Tracks since the trouble began, or since a later time, and the windows in them; none of when the data were bad.

        Args:
            answer: to what.
            rule: how far back, and of how many agents.
            after: nothing of before that.
            is_vouched: nothing either that no drift check has wholly seen yet.
        """
        from data.lake.tracks import recorded_scenes  # noqa: PLC0415

        at, checked = now(self._clock), timedelta(seconds=self._checked_s)
        since, until = max(filter(None, (self._since(answer, rule, at), after))), at + timedelta(seconds=1)
        with self._unit_of_work(read_only=True) as work:
            latest, suspicious = work.drift_checks.latest(), work.drift_checks.suspicious(since - checked)
        if is_vouched and latest is not None and at - latest.at < CHECKED_WITHIN:
            until = latest.at - checked
        without = doubtful(suspicious, self._checked_s)
        scenes = recorded_scenes(self._lake, since, until, SOURCES, max_agents=rule.max_agents, without=without) if since < until else []
        return scenes, Windows.concatenate([cut(resample_scene(scene, max_gap_s=MAX_GAP_S)) for scene in scenes])

    @staticmethod
    def _since(answer: Answer, rule: RecentRule, at: datetime) -> datetime:
        return max(at - timedelta(seconds=rule.window_s), answer.alert_opened_at - timedelta(seconds=rule.before_s))


def _no_rollback(answer: Answer, route: RouteTable) -> str | None:
    """Why a rollback is out of the question; None where it is not."""
    if route.champion is None or route.previous is None:
        return "there is no previous champion to return to"
    return _is_about_another(answer, route.champion)


def _is_about_another(answer: Answer, champion: ModelRef) -> str | None:
    """That an alert is about another version than the champion, in words; None where it is not."""
    about = answer.labels.get(VERSION_LABEL)
    return None if about in {None, str(champion.version)} else f"the alert is about v{about}, and the champion is v{champion.version}"


def _key(answer: Answer) -> str:
    return f"{answer.answer_id}:rollback"


def _pause_key(answer: Answer, routed: RoutedExperiment) -> str:
    return f"{answer.answer_id}:pause:{routed.experiment_id}"


def _compared(experiments: Sequence[RoutedExperiment]) -> list[int]:
    """The versions that are compared with the champion; of an experiment of one version with itself, that version."""
    return list(dict.fromkeys(arm.model.version for one in experiments for arm in one.arms[1:]))


def _canaries(experiments: Sequence[RoutedExperiment], *, was: bool = False) -> str:
    """Whose canaries are, or were."""
    *first, last = (f"v{version}" for version in _compared(experiments))
    if not first:
        return f"the canary of {last} {'was' if was else 'is'}"
    return f"the canaries of {', '.join(first)} and {last} {'were' if was else 'are'}"


def _versions(experiments: Sequence[RoutedExperiment]) -> dict[str, Any]:
    versions = _compared(experiments)
    return {"model_version": versions[0]} | ({"model_versions": versions} if len(versions) > 1 else {})


def _agents(windows: Windows) -> int:
    return len(set(zip(windows.scene_ids, windows.agent_ids, strict=True)))


def _reason(answer: Answer) -> str:
    return f"answers the alert “{answer.alert_title}”"
