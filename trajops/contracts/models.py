"""Model versions: what the registry holds, and where each one is deployed."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.validations import ValidationBriefOut
from trajops.contracts.wire import Reason, Wire
from trajops.deployments.lifecycle import State

_FAMILIES = {
    "constant_velocity": "constant velocity",
    "kalman": "Kalman filter",
    "gaussian_mlp": "Gaussian MLP",
    "gradient_boosting": "gradient boosting",
    "onnx_model": "ONNX graph",
    "pyfunc_model": "Python model",
}


def family_words(family: str) -> str:
    """A model family as it is read: `gaussian_mlp` is a Gaussian MLP."""
    return _FAMILIES.get(family) or family.replace("_", " ")


class ModelVersionOut(Wire):
    """One version of a registered model."""

    model_name: str
    model_version: int
    family: str
    run_id: str | None
    run_url: str | None = Field(description="The training run in MLflow.")
    created_at: AwareDatetime
    aliases: list[str]
    metrics: dict[str, float] = Field(description="Validation metrics: val_ade_m, val_fde_m, val_miss_rate, val_nll, val_coverage …")
    params: dict[str, str] = Field(description="Training parameters, data fingerprint and git commit.")
    deployment_id: str | None
    state: State
    version: int | None = Field(description="Version of the deployment, to send back as `expected_version`.")
    is_warm: bool = Field(description="Loaded in the process that answers.")
    validation: ValidationBriefOut | None = Field(None, description="Its newest battery; None: it has not been validated yet.")
    is_validation_asked: bool = Field(default=False, description="Somebody asked for another battery, and it has not been run yet.")


class AdoptionOut(Wire):
    """A version that somebody registered in MLflow and that cannot be staged: it waits to be measured, or was refused."""

    model_version: int
    state: Literal["waiting", "refused"]
    code: str | None = Field(description="Stable code of the refusal, or of the outage that it waits for.")
    reason: str = Field(description="Why it waits, or what was found wrong with it.")
    registered_at: AwareDatetime
    run_id: str | None
    run_url: str | None = Field(None, description="The run in MLflow.")


class ModelsOut(Wire):
    """All versions, newest first."""

    model_name: str
    versions: list[ModelVersionOut]
    adoptions: list[AdoptionOut] = Field(
        default_factory=list, description="Registered in MLflow and not among the versions, as the workers last saw it; newest first."
    )


class DeletionIn(Wire):
    """Delete a version."""

    reason: Reason


class DeletionOut(Wire):
    """A version that nobody can stage any more."""

    model_name: str
    model_version: int
    deleted_at: AwareDatetime
    by: str
    audit_id: str
    job: str = Field(description="Removes it from the registry, too.")
