"""What is logged of one training run: the record, the model in both of its forms, and the version that comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trajops.deployments.model_ref import ModelRef
from trajops.trajectories import FloatArray, WindowSpec

FAMILY_TAG = "trajops.family"
GOLDEN_TAG = "trajops.golden"
# What came of the newest validation, for people and programs that look into the registry.
VALIDATION_TAG = "trajops.validation"
CARD_FILE = "model_card.md"


@dataclass(frozen=True)
class RunRecord:
    """What is remembered of one training run, besides the model.

    Attributes:
        name: of the run, shown in MLflow.
        params: parameters by name.
        metrics: by name; per scene `scene.{id}.ade_m`.
        tags: by name, for example the git commit.
        dataset: name of the data.
        fingerprint: SHA-256 of the data.
        artifacts: text files by path within the run: figures as JSON, the report as HTML.
        version_tags: of the run from its beginning, and of the version that comes of it, by name.
    """

    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: str = "tracks"
    fingerprint: str = ""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    version_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Package:
    """A model ready to be logged.

    Attributes:
        family: of the forecaster.
        graph: the ONNX model, serialised: what any MLflow client serves.
        files: our own artefact by file name, as `trajops.forecasters.artifact.save` writes it.
        window: what goes in and comes out.
        example_m: (N, t_obs, 2) histories, metres.
        golden: its answers to the probes, as `trajops.forecasters.golden.record` writes them; empty: not recorded.
    """

    family: str
    graph: bytes
    files: Mapping[str, bytes]
    window: WindowSpec
    example_m: FloatArray
    golden: str = ""


@dataclass(frozen=True)
class LoggedVersion:
    """A registered version with its run and the SHA-256 of its artefact."""

    ref: ModelRef
    run_id: str
    digest: str
