"""Where the parts of a training run are executed: in this process, or on a Dask cluster. The results are the same.

They are, because a part is described by its item alone: seeds stand in the items, never in a worker.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib import import_module
from types import TracebackType
from typing import Any, Self, TypeVar

from trajops.errors import EnvironmentProblem
from trajops.settings import Settings

T = TypeVar("T")
R = TypeVar("R")
CONNECT_TIMEOUT_S = 10


class Inline(AbstractContextManager["Inline"]):
    """One item after the other, here."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Apply a function to each item; results in order, the first error raised."""
        return [function(item) for item in items]

    def __exit__(self, *_: object) -> None:
        return None


class DaskCompute(AbstractContextManager["DaskCompute"]):
    """Items spread over the workers of a Dask cluster.

    Args:
        address: of a scheduler, for example `tcp://scheduler:8786`; its workers need this application installed.
            None starts a cluster on the loopback interface, which ends with the `with` block.
        workers: processes of that local cluster, one thread each.

    Raises:
        EnvironmentProblem: on entering, if the scheduler does not answer.
    """

    def __init__(self, address: str | None = None, *, workers: int = 2) -> None:
        self._address, self._workers = address, workers
        self._cluster: Any = None
        self._client: Any = None

    def __enter__(self) -> Self:
        distributed: Any = import_module("distributed")  # it costs a second, and training inline does not need it

        try:
            if self._address is None:
                self._cluster = distributed.LocalCluster(
                    n_workers=self._workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                    worker_dashboard_address=None,
                )
            self._client = distributed.Client(self._cluster or self._address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
        except OSError as error:
            self._close()
            where = self._address or "on this machine"
            raise EnvironmentProblem(f"no Dask scheduler answers at {where} ({error}); start it, or set TRAJOPS_COMPUTE=inline") from error
        return self

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Apply a picklable function to each item, each exactly once; results in order, the first error raised."""
        if self._client is None:
            raise EnvironmentProblem("the cluster is not running; use DaskCompute in a with block")
        # Pure functions of equal items would be computed once and shared; a training run wants its own.
        futures = self._client.map(function, list(items), pure=False)
        results: list[R] = self._client.gather(futures)
        return results

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        for part in (self._client, self._cluster):
            if part is not None:
                part.close()
        self._client = self._cluster = None


def compute_from(settings: Settings) -> Inline | DaskCompute:
    """The place that the settings name."""
    return DaskCompute(settings.dask_address) if settings.compute == "dask" else Inline()
