"""What a shadow costs those who are answered: the median latency with a routed shadow experiment over that without, in one run.

An API process on one core answers an open loop (Poisson, over 32 connections), a worker on the other core runs `shadow` every second and
`compact_lake`, without which the spool would only grow. Champion is the network, treatment a Kalman filter. Blocks alternate: the
experiment goes on and enrols everybody, or it is paused, and the job finds nothing to do. Each is held against its neighbour, because
machines are shared; the value is the median of these ratios. The generator shares the worker's core and comes first there: its own lateness
would count as the server's. Where that is allowed (real-time scheduling), the API and the generator also come before whatever else runs on
the machine. Truth is not joined: the load is one agent's, who never moves on.

The throughput of the job is measured beside it, in this process and by CPU time: a thousand answers a second are in the spool, the spool is
compacted every fifteen seconds as a worker does it, and each run finds the answers of one second among those that are not compacted yet.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks import load
from benchmarks.open_loop import OpenLoad, open_loop
from benchmarks.product import ROOT, Product, api, free_port, prepare, process
from benchmarks.record import Measurement
from benchmarks.serve_hot_path import body
from data.lake.spool import Spool
from data.stubs import SetClock
from trajops.contracts.experiments import ExperimentPlan
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.settings import Settings
from trajops.telemetry import PredictionEvent
from workers.jobs.shadow import JOB
from workers.wiring import Parts
from workers.work import runner_of, work_of

CHAMPION, TREATMENT = "gaussian_mlp", "kalman"
RATE_PER_S, CONNECTIONS, FOLLOWED_S = 400, 32, 2.5
API_CORE, WORKER_CORE = 0, 1
JOBS = ("shadow", "compact_lake")
WHO: dict[str, Any] = {"actor": "benchmark", "reason": "what a shadow costs"}
# A process on one core.
_PINNED = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execvp(sys.argv[2], sys.argv[2:])"

S = 10**9


def run(pairs: int = 10, seconds: float = 4.0) -> Measurement:
    """Alternate, then measure the job alone.

    Raises:
        RuntimeError: if there are not two cores.
    """
    if len(os.sched_getaffinity(0)) < 2:
        raise RuntimeError("the API and the worker need a core each")
    with tempfile.TemporaryDirectory() as folder:
        alternated = _alternated(Path(folder), pairs, seconds)
    with tempfile.TemporaryDirectory() as folder:
        throughput = _throughput(Path(folder))
    loads = {is_on: [one.load for one in alternated.blocks if one.is_on is is_on] for is_on in (True, False)}
    ratios = {q: [_over(on, off, q) for on, off in zip(loads[True], loads[False], strict=True)] for q in (0.5, 0.99)}
    # Each load uses each of its connections once before it begins.
    answers = sum(one.answers + CONNECTIONS for one in loads[True])
    details: dict[str, Any] = {
        "ratios": [round(one, 3) for one in ratios[0.5]],
        "p99_ratio": round(statistics.median(ratios[0.99]), 3),
        "p50_ms": _both(loads, 0.5),
        "p99_ms": _both(loads, 0.99),
        "busy": round(statistics.median(one.busy for one in alternated.blocks), 2),
        "answers_shadowed": answers,
        **{name: alternated.counts[name] for name in ("predicted", "failed", "dropped")},
        "shadowed_share": round(alternated.counts["predicted"] / answers, 4),
        "not_answered": sum(one.refusals + one.failures for both in loads.values() for one in both),
        "generator_late_p99_ms": round(statistics.median(one.load.late_quantile_ms(0.99) for one in alternated.blocks), 2),
        **throughput,
        "rate_per_s": RATE_PER_S,
    }
    return Measurement(round(statistics.median(ratios[0.5]), 4), details)


class _Block(NamedTuple):
    """A load, whether its answers were shadowed, and the share of its core that the API took."""

    is_on: bool
    load: OpenLoad
    busy: float


class _Alternated(NamedTuple):
    """All blocks, and what the job's runs add up to."""

    blocks: list[_Block]
    counts: Counter[str]


def _over(on: OpenLoad, off: OpenLoad, q: float) -> float:
    return on.quantile_ms(q) / off.quantile_ms(q)


def _both(loads: dict[bool, list[OpenLoad]], q: float) -> dict[str, float]:
    return {
        "shadowed" if is_on else "alone": round(statistics.median(one.quantile_ms(q) for one in some), 3) for is_on, some in loads.items()
    }


def _alternated(folder: Path, pairs: int, seconds: float) -> _Alternated:
    product = prepare(folder, CHAMPION, TREATMENT)
    port, workers_port = free_port(), free_port()
    request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
    parts = Parts(Settings(var_dir=folder, environment="test"))
    with ExitStack() as stack:
        server, _ = stack.enter_context(process(*_pinned(API_CORE, api(product, port))))
        stack.enter_context(process(*_pinned(WORKER_CORE, _worker(product, port, workers_port))))
        stack.enter_context(_on_core(WORKER_CORE))
        _put_first(server.pid)
        blocks = []
        open_loop(port, request, rate_per_s=RATE_PER_S, requests=4 * RATE_PER_S, connections=CONNECTIONS)
        switch = _Switch(parts)
        for number in range(2 * pairs):
            # On, off, off, on: what drifts with time favours neither.
            is_on = number % 4 in {0, 3}
            switch.turn(is_on=is_on)
            time.sleep(FOLLOWED_S)
            before_ns = load.cpu_ns(server.pid)
            done = open_loop(port, request, rate_per_s=RATE_PER_S, requests=round(RATE_PER_S * seconds), connections=CONNECTIONS)
            blocks.append(_Block(is_on, done, (load.cpu_ns(server.pid) - before_ns) / 1e9 / done.wall_s))
            time.sleep(FOLLOWED_S)
        counts = switch.counts()
    parts.close()
    return _Alternated(blocks, counts)


class _Switch:
    """A shadow experiment that goes on or is paused."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        name = parts.settings.model_name
        Deployments(parts.database.unit_of_work, model_name=name, clock=parts.clock).stage(2, **WHO)
        self._experiments = Experiments(parts.database.unit_of_work, model_name=name, clock=parts.clock)
        arms = [{"variant": variant, "model_version": version, "weight": 0.5} for variant, version in (("control", 1), ("treatment", 2))]
        plan = {"name": "shadow", "hypothesis": "It costs nobody who is answered.", "mode": "shadow", "arms": arms}
        draft = self._experiments.create(ExperimentPlan.model_validate(plan), **WHO).experiment
        self._id = self._experiments.launch(draft.experiment_id, draft.version, **WHO).experiment.experiment_id
        self._is_on = True

    def turn(self, *, is_on: bool) -> None:
        """Let it go on, or pause it."""
        if is_on == self._is_on:
            return
        version = self._experiments.get(self._id).version
        if is_on:
            self._experiments.cover(self._id, version, 1.0, **WHO)
        else:
            self._experiments.pause(self._id, version, **WHO)
        self._is_on = is_on

    def counts(self) -> Counter[str]:
        """What the recorded runs of the job add up to.

        Raises:
            RuntimeError: if one of them failed.
        """
        with self._parts.database.unit_of_work(read_only=True) as work:
            runs = work.jobs.runs(JOB, 10_000)
        if failed := [one.error for one in runs if one.state == "failed"]:
            raise RuntimeError(f"{len(failed)} runs of the job failed: {failed[0]}")
        counts: Counter[str] = Counter()
        for one in runs:
            counts.update({name: one.result.get(name, 0) for name in ("predicted", "failed", "dropped")})
        return counts


def _worker(product: Product, api_port: int, port: int) -> tuple[list[str], dict[str, str], str]:
    """Command, environment and health address of a worker with a few jobs."""
    configs_dir = product.var_dir / "configs"
    shutil.copytree(ROOT / "configs", configs_dir)
    schedules = yaml.safe_load((ROOT / "configs" / "schedules.yaml").read_text())
    schedules["jobs"] = {name: schedules["jobs"][name] for name in JOBS}
    (configs_dir / "schedules.yaml").write_text(yaml.safe_dump(schedules))
    environment = product.environment(api_port) | {"TRAJOPS_CONFIGS_DIR": str(configs_dir), "TRAJOPS_WORKERS_PORT": str(port)}
    return [sys.executable, "-m", "workers"], environment, f"http://127.0.0.1:{port}/healthz"


def _pinned(core: int, started: tuple[list[str], dict[str, str], str]) -> tuple[list[str], dict[str, str], str]:
    command, environment, url = started
    return [sys.executable, "-c", _PINNED, str(core), *command], environment, url


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """This process, and what it starts meanwhile, on one core, and before others."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    _put_first(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _put_first(pid: int) -> None:
    """Let a process and what it starts from now on come before others: a nice value would only count within its own session."""
    threads = [int(task.name) for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir()]
    with suppress(PermissionError):
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))


# The job alone


def _throughput(folder: Path, rate_per_s: int = 1_000, seconds: int = 60, at_once: int = 10_000) -> dict[str, float]:
    """CPU time of runs that each find the answers of a second, of one that finds many at once, and of one that finds nothing routed."""
    prepare(folder, CHAMPION, TREATMENT)
    parts = Parts(Settings(var_dir=folder, environment="test", configs_dir=ROOT / "configs"))
    clock = parts.clock = SetClock(time.time_ns())
    switch = _Switch(parts)
    runner_of(parts).describe()
    taken_s = []
    with Spool(parts.settings.spool_dir, sync_s=3600, rotate_s=1e6, clock=clock) as spool:
        for second in range(seconds):
            _write(spool, clock.now_ns(), rate_per_s, second)
            clock.advance(1)
            taken_s.append(_run(parts, rate_per_s))
            if second % 10 == 9:
                spool.close()
                parts.spool.close()
            if second % 15 == 14:
                work_of(parts)["compact_lake"]()
        _write(spool, clock.now_ns(), at_once, seconds)
        clock.advance(1)
        whole_s = _run(parts, at_once)
        switch.turn(is_on=False)
        idle_s = []
        for _ in range(20):
            clock.advance(1)
            idle_s.append(_run(parts, None))
    parts.close()
    # The first runs find a spool that is not full yet, and load the model.
    each_s = statistics.median(taken_s[20:])
    return {
        "rows_a_cpu_s": round(rate_per_s / each_s),
        "rows_a_cpu_s_at_once": round(at_once / whole_s),
        "run_cpu_ms": round(1e3 * each_s, 1),
        "idle_run_cpu_ms": round(1e3 * statistics.median(idle_s), 1),
    }


def _run(parts: Parts, expected: int | None) -> float:
    """CPU seconds of one run on record, with all that the runner does for it."""
    began_s = time.process_time()
    done = runner_of(parts).run(JOB)
    taken_s = time.process_time() - began_s
    if done is None or done.error is not None or done.result.get("predicted") != expected:
        raise RuntimeError(f"the job did not predict {expected} rows: {done}")
    return taken_s


def _write(spool: Spool, since_ns: int, rows: int, number: int) -> None:
    """The answers of a second, of agents who are each asked every 0.4 s or so."""
    rng = np.random.default_rng(number)
    history_m = np.round(rng.uniform(-50, 50, (rows, 1, 2)) + rng.normal(0, 0.4, (rows, 8, 2)).cumsum(axis=1), 4)
    mean_m, cov_m2 = np.round(rng.uniform(-50, 50, (rows, 24)), 4).tolist(), [0.1234, 0.0123, 0.2345] * 12
    events = [
        PredictionEvent(
            f"{since_ns + row * S // rows:016x}{number:08x}{row:08x}",
            since_ns + row * S // rows,
            (since_ns + row * S // rows) / S,
            f"scene-{row % 7}",
            f"agent-{row % (rows // 2)}",
            "benchmark",
            f"request-{number}-{row}",
            "trajectory",
            1,
            "champion",
            2,
            0.4,
            history_m[row].ravel().tolist(),
            [1.0],
            mean_m[row],
            cov_m2,
            0.2,
        )
        for row in range(rows)
    ]
    spool.write("predictions", events)
