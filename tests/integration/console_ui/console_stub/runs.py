"""Training runs of the stub API: the real service over runs and versions in memory."""

from typing import Any

from pydantic import BaseModel

from console_stub.refusal import Refused
from data.stubs import MemoryDatabase, MemoryRegistry, MemoryRuns
from tests.run_builders import a_run, run_id
from trajops.errors import TrajOpsError
from trajops.services.runs import Runs
from trajops.training_runs import RunQuery

STATUS = {"conflict": 409, "not_found": 404, "registry_unavailable": 503, "invalid_input": 422}
FAMILIES = ("constant_velocity", "kalman", "gaussian_mlp", "gradient_boosting", "gaussian_mlp")


class StubRuns:
    """Five runs on one match, the first three of them registered as v1, v2 and v3; one on other data; one that failed.

    Attributes:
        kept: the runs, to add some.
        registry: the versions; `is_away` makes MLflow one that does not answer.
    """

    def __init__(self, *, is_empty: bool) -> None:
        self.registry = MemoryRegistry()
        self.kept = MemoryRuns(self.registry)
        self.service = Runs(self.kept, self.registry, MemoryDatabase().unit_of_work, url="http://127.0.0.1:5000")
        if is_empty:
            return
        for number, family in enumerate(FAMILIES, 1):
            self.kept.add(a_run(number, family))
        other = a_run(6, "kalman", name="plaza filter")
        self.kept.add(a_run(6, "kalman", params={**other.params, "dataset": "plaza", "data_fingerprint": "77aa"}))
        self.kept.add(a_run(7, "gaussian_mlp", status="failed", metrics={}, model_ids=()))
        for number in (1, 2, 3):
            self.service.register(run_id(number), actor="ada", reason="the runs of the demo")

    def read(self, path: str, query: dict[str, str]) -> BaseModel:
        if path == "/v1/runs":
            asked: dict[str, Any] = {**query, "limit": int(query.get("limit", "50"))}
            return self._told(lambda: self.service.newest(RunQuery(**asked)))
        return self._told(lambda: self.service.one(path.rsplit("/", 1)[1]))

    def register(self, path: str, body: dict[str, Any], username: str, key: str | None) -> BaseModel:
        run_id = path.split("/")[3]
        return self._told(lambda: self.service.register(run_id, actor=username, reason=body["reason"], idempotency_key=key))

    def _told(self, call: Any) -> BaseModel:
        try:
            return call()  # type: ignore[no-any-return]
        except TrajOpsError as error:
            raise Refused(STATUS[error.code], error.code, error.message) from error
