"""Training runs: what was trained on what, how good it was, and which versions came of it."""

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Reason, Wire
from trajops.training_runs import RunStatus


class RunOut(Wire):
    """One training run in MLflow."""

    run_id: str
    name: str
    family: str | None = Field(description="Of the forecaster; None: the run does not say.")
    dataset: str | None = Field(description="Name of the tracks.")
    data_fingerprint: str | None = Field(description="Of the windows; runs compare only where it is the same.")
    status: RunStatus
    started_at: AwareDatetime
    duration_s: float | None = Field(description="None while it goes on.")
    commit: str | None = Field(description="Of the code that trained.")
    params: dict[str, str]
    metrics: dict[str, float] = Field(
        description="Figures over all validation windows: val_ade_m, val_fde_m, val_nll, val_latency_ms (median), val_latency_p95_ms …"
    )
    model_versions: list[int] = Field(description="Versions of our model that were registered from it, oldest first.")
    run_url: str = Field(description="The run in MLflow.")


class RunsOut(Wire):
    """Training runs, newest first."""

    model_name: str
    runs: list[RunOut]
    next_page_token: str | None = Field(None, description="Send it back as `page_token` for older runs; None: there are none.")


class RunStepOut(Wire):
    """Figures at one step of the horizon."""

    step: int
    ahead_s: float | None = Field(description="Seconds after the last observation; None: the run does not say how long a step is.")
    ade_m: float | None = None
    nll: float | None = None
    coverage_90: float | None = None
    radius_m: float | None = None


class RunCalibrationOut(Wire):
    """How much of the truth lies inside an ellipse that should hold `nominal` of it."""

    nominal: float
    observed: float


class RunPartOut(Wire):
    """Figures of one scene, or of one speed band."""

    name: str
    windows: int | None = Field(None, description="How many forecasts they are of; None: the run does not say.")
    ade_m: float | None = None
    fde_m: float | None = None
    coverage_90: float | None = None


class RunDetailOut(Wire):
    """One training run with its curves; each list is empty where the run did not log it."""

    run: RunOut
    steps: list[RunStepOut]
    calibration: list[RunCalibrationOut]
    scenes: list[RunPartOut] = Field(description="By name; a training run logs those with the most windows.")
    speeds: list[RunPartOut] = Field(description="By mean speed of the history, slowest band first.")
    refusal: str | None = Field(description="Why it cannot be registered now; None: it can.")


class RegisterRunIn(Wire):
    """Register a run's model."""

    reason: Reason


class RegistrationOut(Wire):
    """A run's model as the next version; the workers measure it before it may be staged."""

    model_name: str
    model_version: int
    run_id: str
    at: AwareDatetime
    by: str
    audit_id: str
    job: str = Field(description="Adopts the version: measures and validates it.")
