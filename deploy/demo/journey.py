"""The demo's way through the product: train → register → deploy → replay → truth, as an operator and a client would.

Everything goes through the product's own doors: the training pipeline, the API as the operator, `/predict` as a client.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from data.datasets import skillcorner
from deploy.demo.backfill import backfill
from deploy.demo.health import Health
from deploy.demo.memory import Memory
from deploy.demo.replay import Replay
from deploy.demo.training import first_models
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.deployments.lifecycle import State
from trajops.errors import TrajOpsError
from trajops.settings import Settings

SCENE_ID = "skillcorner-2417"
CANARY_COVERAGE = 0.5
# After this, an operator learns where to look even if something is missing, and what.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    speed: float
    is_headless: bool
    until_healthy: bool
    timeout_s: float


class Progress:
    """One line for each step, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print one step."""
        sys.stdout.write(f"[{time.monotonic() - self._start:6.1f} s] {text}\n")
        sys.stdout.flush()


def wait_for(what: str, probe: Callable[[], object], timeout_s: float) -> None:
    """Poll until the probe is true.

    Raises:
        TimeoutError: naming what did not come.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(ApiUnavailable, ApiProblem, TrajOpsError):
            if probe():
                return
        time.sleep(0.2)
    raise TimeoutError(f"{what} did not come within {timeout_s:.0f} s; look into the logs folder")


def deploy(client: TrajOpsClient, champion: int, challenger: int) -> None:
    """Make one version the champion and compare the other with it, from wherever an interrupted start has left off."""
    deployed = {deployment.model_version: deployment for deployment in client.deployments().deployments}
    for version in (champion, challenger):
        if version not in deployed:
            deployed[version] = client.stage(version, reason="demo: one of the first models").deployment
    route = client.routes().current
    if route.champion is None:
        client.promote(deployed[champion].deployment_id, deployed[champion].version, reason="demo: first champion")
    staged = deployed[challenger]
    if route.challenger is None and staged.state == State.STAGED:
        client.start_canary(staged.deployment_id, staged.version, CANARY_COVERAGE, reason="demo: compare with the champion")


def banner(settings: Settings, memory: Memory) -> str:
    """Where to look, and how to get in."""
    return (
        "\n"
        f"  Console   http://{settings.host}:{settings.console_port}   sign in as {memory.username} / {memory.password}\n"
        f"  API       {settings.service_url}/docs   key {memory.api_key}\n"
        f"  MLflow    {settings.registry_url}\n"
        f"  Logs      {settings.var_dir / 'logs'}\n\n"
        "  Ctrl-C stops everything; `make demo` resumes.\n\n"
    )


def play_forever(replay_once: Callable[[], Replay], say: Progress, latest: list[Replay]) -> None:
    """Replay the match again and again; runs in a thread of its own."""
    while True:
        replay = replay_once()
        latest[:] = [replay]
        asyncio.run(replay.run())
        say("replay: the half is over, it starts again")


def set_up(options: Options, settings: Settings, say: Progress, client: TrajOpsClient, memory: Memory) -> None:
    """Train, deploy and backfill, each step once; a start that was interrupted is resumed at the step that is missing."""
    if memory.is_compared and memory.is_backfilled:
        say("deploy: resuming with the models of an earlier start")
        return
    first = first_models(settings, say, options.timeout_s)
    if not memory.is_compared:
        deploy(client, first.champion, first.challenger)
        memory.is_compared = True
        memory.save(settings.var_dir)
        say(f"deploy: version {first.champion} is champion, version {first.challenger} its challenger on half of the agents")
    if not memory.is_backfilled:
        rows = backfill(settings, first.load(), SCENE_ID)
        memory.is_backfilled = True
        memory.save(settings.var_dir)
        say(f"backfill: {rows} predictions of the first half, marked as backfill, are the reference history")


def travel(options: Options, settings: Settings, say: Progress) -> int:
    """Go the whole way; return the exit code."""
    memory = Memory.load(settings.var_dir)
    if memory is None:
        raise RuntimeError("the demo was not prepared; start it with `make demo`")
    anonymous = TrajOpsClient(settings.service_url, attempts=1)
    wait_for("the API", anonymous.health, options.timeout_s)
    say("api: alive")
    client = TrajOpsClient(settings.service_url, anonymous.sign_in(memory.username, memory.password).access_token)
    set_up(options, settings, say, client, memory)
    wait_for("a warm champion", lambda: client.ready().status == "ready", options.timeout_s)
    say("api: ready, models are warm")

    scene = skillcorner.load()["second_half"]

    def next_replay() -> Replay:
        memory.replays += 1
        memory.save(settings.var_dir)
        return Replay(settings.service_url, memory.api_key, scene, SCENE_ID, f"r{memory.replays}", speed=options.speed)

    latest: list[Replay] = []
    threading.Thread(target=play_forever, args=(next_replay, say, latest), name="replay", daemon=True).start()
    say(f"replay: the second half of the match is live traffic at {options.speed:g} × its own pace")
    health = Health(client, settings)
    patience_s = options.timeout_s if options.until_healthy else PATIENCE_S
    deadline = time.monotonic() + patience_s
    while missing := health.missing():
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    if missing:
        last = f" (last failed request: {latest[0].tally.last_failure})" if latest and latest[0].tally.last_failure else ""
        say(f"not healthy after {patience_s:.0f} s: {'; '.join(missing)}{last}")
    else:
        say(health.sentence())
    if options.until_healthy:
        return 1 if missing else 0
    if not options.is_headless:
        sys.stdout.write(banner(settings, memory))
        sys.stdout.flush()
    while True:
        signal.pause()


def main() -> int:
    """Parse the options that `deploy.demo` passes on, and travel."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--until-healthy", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    say = Progress()
    try:
        return travel(Options(args.speed, args.headless, args.until_healthy, args.timeout), Settings.from_environment(), say)
    except (TimeoutError, TrajOpsError, ApiProblem, ApiUnavailable) as error:
        say(f"stopped: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
