"""Evidently behind the DriftDetector port: its tests on independent rows, and its HTML report.

Evidently takes seconds of CPU and 275 MB to import, so it lives in a child process of its own, of low priority: the other jobs
of the worker are not held up by it, and a worker that never checks drift never pays for it.
"""

import contextlib
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from trajops.contracts.drift import DriftOpinion
from trajops.errors import Unavailable
from trajops.trajectories import FloatArray

DETECTOR = "evidently"
# One level of 5 % over as many columns as the lake has; Wasserstein's distance is in standard deviations of the reference.
KS_LEVEL = 0.05
COLUMNS = 15
WASSERSTEIN_THRESHOLD = 0.1
MIN_ROWS = 30
NICENESS = 10
PARENT_POLL_S = 2.0

logger = logging.getLogger(__name__)


class EvidentlyDetector:
    """Implements `trajops.ports.DriftDetector` in a child process. Safe to call from several threads, one comparison at a time."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._import: Future[None] | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Start the child and let it import Evidently; returns at once."""
        with self._lock:
            self._started()

    def compare(
        self, reference: Mapping[str, FloatArray], current: Mapping[str, FloatArray], report: Path | None, timeout_s: float
    ) -> Mapping[str, list[DriftOpinion]]:
        """Compare columns of independent rows, and write the full report as HTML where a path is given.

        Args:
            reference: columns of (M,) floats, NaN where missing.
            current: columns of (N,) floats.
            report: file to write, or None.
            timeout_s: longest wait. A child that is still importing Evidently then goes on with that, for the next comparison.

        Returns:
            Two opinions a column, Kolmogorov–Smirnov and Wasserstein; both must agree before a column may be called drifted.

        Raises:
            Unavailable: if Evidently fails, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        with self._lock:
            try:
                pool, imported = self._started()
                try:
                    imported.result(timeout_s)
                except FutureTimeout as error:
                    raise Unavailable(f"Evidently is still being imported after {timeout_s:g} s; the next check will have it") from error
                report_made: Future[dict[str, list[dict[str, Any]]]] = pool.submit(run_report, dict(reference), dict(current), report)
                found = report_made.result(max(0.0, deadline - time.monotonic()))
            except FutureTimeout as error:
                self._end()
                late = f"Evidently did not answer within {timeout_s:g} s; raise report.timeout_s in configs/drift.yaml"
                raise Unavailable(late) from error
            except (BrokenProcessPool, CancelledError) as error:
                self._end()
                raise Unavailable("the process that runs Evidently ended; it is started again with the next check") from error
        return {column: [DriftOpinion(**opinion) for opinion in opinions] for column, opinions in found.items()}

    def close(self) -> None:
        """End the child, also in the middle of a report; does not wait for a comparison in another thread."""
        self._end()

    def _started(self) -> tuple[ProcessPoolExecutor, "Future[None]"]:
        if self._pool is None or self._import is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_prepare_child, initargs=(os.getpid(),))
            self._import = self._pool.submit(import_evidently)
        return self._pool, self._import

    def _end(self) -> None:
        pool, self._pool, self._import = self._pool, None, None
        if pool is None:
            return
        # The executor has no public way to end a child that hangs.
        children = list((pool._processes or {}).values())  # noqa: SLF001
        for child in children:
            child.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.join(5)


def import_evidently() -> None:
    """Import Evidently without its telemetry and without its dependencies' warnings."""
    os.environ["DO_NOT_TRACK"] = "1"
    with _quiet():
        import evidently  # noqa: PLC0415
        import evidently.metrics  # noqa: PLC0415

    del evidently


def run_report(
    reference: Mapping[str, FloatArray], current: Mapping[str, FloatArray], report: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """Run one Evidently report in this process.

    Args:
        reference: columns of (M,) floats, NaN where missing; rows of different agents.
        current: columns of (N,) floats.
        report: HTML file to write, at once or not at all; None writes nothing.

    Returns:
        By column, the fields of `DriftOpinion`. Columns with fewer than 30 numbers on a side are left out, because Evidently's tests
        flag small samples freely.

    Raises:
        Unavailable: if Evidently fails.
    """
    columns = [name for name in reference if name in current and min(_present(reference[name]), _present(current[name])) >= MIN_ROWS]
    if not columns:
        raise Unavailable(f"no column has {MIN_ROWS} numbers on both sides, so there is nothing that Evidently could compare")
    import_evidently()
    with _quiet():
        import pandas as pd  # noqa: PLC0415
        from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415
        from evidently.metrics import ValueDrift  # noqa: PLC0415

        definition = DataDefinition(numerical_columns=columns)
        sides = [
            Dataset.from_pandas(pd.DataFrame({name: np.asarray(side[name], dtype=float) for name in columns}), data_definition=definition)
            for side in (reference, current)
        ]
        methods = {"ks": KS_LEVEL / COLUMNS, "wasserstein": WASSERSTEIN_THRESHOLD}
        metrics = [ValueDrift(column=name, method=method, threshold=limit) for name in columns for method, limit in methods.items()]
        try:
            snapshot = Report(metrics, include_tests=True).run(current_data=sides[1], reference_data=sides[0])
            answer = snapshot.dict()
            if report is not None:
                _write(report, snapshot)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # its ReferenceMetricNotFound is no Exception
            raise Unavailable(f"Evidently could not make its report: {type(error).__name__}: {error}") from error
    failed = {test["metric_config"]["metric_id"] for test in answer["tests"] if str(test["status"]).upper().endswith("FAIL")}
    opinions: dict[str, list[dict[str, Any]]] = {name: [] for name in columns}
    for metric in answer["metrics"]:
        config = metric["config"]
        opinions[config["column"]].append(
            {
                "detector": DETECTOR,
                "method": config["method"],
                "score": float(metric["value"]),
                "threshold": float(config["threshold"]),
                "is_drifted": metric["id"] in failed,
            }
        )
    return opinions


def _present(column: FloatArray) -> int:
    return int(np.isfinite(column).sum())


def _write(report: Path, snapshot: Any) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    unfinished = report.with_suffix(".partial")
    snapshot.save_html(str(unfinished))
    unfinished.replace(report)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither warnings of Evidently's dependencies nor numpy's on constant columns, whatever filters the process has."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _prepare_child(parent: int) -> None:
    """Make way for the serving processes, leave Ctrl-C to the parent, and end when the parent is gone."""
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
