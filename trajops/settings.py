"""Typed settings: every field is one environment variable with the prefix TRAJOPS_."""

from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trajops.errors import EnvironmentProblem


class Settings(BaseSettings):
    """What can be set from outside. The defaults run the whole product on one machine."""

    model_config = SettingsConfigDict(env_prefix="TRAJOPS_", env_file=None, extra="ignore", frozen=True)

    environment: Literal["demo", "production", "test"] = Field(
        "demo", description="Named in the console's header and in the logs; `production` refuses generated secrets."
    )
    var_dir: Path = Field(Path("var"), description="Folder for all state on disk: database, lake, spool, models, logs.")
    configs_dir: Path = Field(Path("configs"), description="Folder of the YAML files: schedules, drift, performance, alerts, objectives.")
    database_url: str | None = Field(None, description="SQLAlchemy URL of the control state. Default: SQLite in WAL mode under `var_dir`.")
    host: str = Field("127.0.0.1", description="Address that the servers listen on.")
    api_port: int = Field(8000, ge=1, le=65535, description="Port of the prediction API.")
    api_workers: int = Field(1, ge=1, le=256, description="Processes of the prediction API that share its port.")
    drain_s: float = Field(
        0.0, ge=0, description="From SIGTERM, when the API says that it is not ready, until it takes no more connections, seconds."
    )
    console_port: int = Field(8501, ge=1, le=65535, description="Port of the operations console.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow tracking server that the demo starts.")
    workers_port: int = Field(8002, ge=1, le=65535, description="Port of the workers' health and metrics endpoint.")
    mlflow_url: str | None = Field(None, description="MLflow tracking server. Default: `host` and `mlflow_port`.")
    api_url: str | None = Field(None, description="Where the console and the replay reach the API. Default: `host` and `api_port`.")
    probe_url: str | None = Field(None, description="Where the probe reaches the API, as its clients do. Default: as `api_url`.")
    probe_key: SecretStr | None = Field(
        None, description="API key that the probe asks with; scope `predict`. Default: the workers make one of their own under `var_dir`."
    )
    model_name: str = Field("trajectory", description="Registered model whose versions are deployed.")
    token_secret: SecretStr | None = Field(
        None, description="Key that signs session tokens (≥ 32 characters). Default: generated once under `var_dir`."
    )
    token_ttl_s: int = Field(8 * 3600, ge=60, description="Life of a session token, seconds.")
    spool_rotate_s: float = Field(10.0, gt=0, description="Age at which a spool segment is closed for compaction, seconds.")
    spool_sync_s: float = Field(1.0, gt=0, description="Interval of fdatasync on the live segment, seconds: what a power loss can take.")
    epoch_poll_s: float = Field(1.0, gt=0, description="How often an API process looks for a new routing epoch, seconds.")
    track_ttl_s: float = Field(60.0, gt=0, description="How long an agent without new observations stays in the track buffer, seconds.")
    track_capacity: int = Field(100_000, ge=1, description="Most agents that one process keeps in its track buffer.")
    model_slots: int = Field(8, ge=2, description="Most model versions kept warm in one API process; the least recently used goes first.")
    model_memory_mb: int = Field(
        2048,
        ge=1,
        description="Most megabytes of artefacts of the versions kept warm in one API process; routed versions stay in any case.",
    )
    model_idle_s: float = Field(
        3600.0, gt=0, description="A version that is not routed and that nobody has asked for so long is unloaded, seconds."
    )
    forecast_cache: int = Field(
        4096,
        ge=0,
        le=10**7,
        description="Forecasts that each version remembers for identical histories (about 1 kB each), if its model is slow enough for that "
        "to pay; 0: none.",
    )
    miss_threshold_m: float = Field(2.0, gt=0, description="A final displacement above this is a miss, metres.")
    coverage_level: float = Field(0.9, gt=0, lt=1, description="Nominal probability of the uncertainty ellipse.")
    truth_wait_s: float = Field(120.0, gt=0, description="How long a prediction waits for late truth before it is left as it is, seconds.")
    truth_gap_s: float = Field(1.0, gt=0, description="Widest gap between two observations that truth is interpolated over, seconds.")
    shadow_max_rows: int = Field(
        10_000,
        ge=1,
        description="Most predictions that the job `shadow` makes in one run; of more the newest, and the others are counted. Each takes "
        "some tens of microseconds and what its model takes.",
    )
    allow_pickled_models: bool = Field(False, description="Serve foreign MLflow pyfuncs that unpickle code. Each load is audited.")
    compute: Literal["inline", "dask"] = Field("inline", description="Where training runs: in the worker, or on a Dask cluster.")
    dask_address: str | None = Field(None, description="Dask scheduler. Default with `compute=dask`: a local cluster of two workers.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line that is written.")
    max_body_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="Largest request body accepted, bytes.")
    max_upload_bytes: int = Field(
        256 * 1024 * 1024, ge=1024, description="Largest file of tracks that may be uploaded for a batch or training job, bytes."
    )
    turn_batch: int = Field(
        64, ge=1, le=4096, description="Most `/predict` requests of one turn of the event loop that are forecast at once; 1: each alone."
    )
    max_wait_s: float = Field(
        0.05,
        gt=0,
        description="A `/predict` that would wait longer for its turn is refused with 503, seconds: overload costs nobody their time.",
    )
    max_batch: int = Field(10_000, ge=1, description="Most trajectories in one request: `/batch_predict`, `/v2/…/infer`, `/invocations`.")
    json_workers: int = Field(
        2,
        ge=0,
        le=64,
        description="Most processes that read and write large JSON bodies beside the event loop, each started when first needed.",
    )

    rate_limit_per_s: float = Field(
        100_000, ge=0, le=1e9, description="Predictions a second that one client may ask for, over all processes; 0: no limit."
    )
    rate_limit_burst: int = Field(
        200_000, ge=1, le=10**12, description="Most predictions that one client may ask for at once; an API key may have limits of its own."
    )
    api_processes: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="How many API processes serve the same clients, over all machines; each gives out its share of every limit. "
        "Default: `api_workers`.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis in which API processes share quotas and tracks (`redis://HOST:PORT/DATABASE`). Default: each gives out its "
        "own share, and knows only the agents that it was told of.",
    )
    otlp_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OpenTelemetry collector that gets traces by OTLP over HTTP, for example `http://127.0.0.1:4318`. Default: no traces.",
    )
    otlp_ratio: float = Field(
        0.1, ge=0, le=1, description="Share of requests that are traced, of those whose caller has not decided it in `traceparent`."
    )
    console_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Where people reach the console, for links in notifications. Default: `host` and `console_port`.",
    )
    alertmanager_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Prometheus Alertmanager whose alerts are shown beside ours, and that receivers of that kind post to. Default: none.",
    )
    issuer: str | None = Field(None, description="External issuer whose RS256 tokens are accepted beside ours: the exact `iss`.")
    issuer_jwks_url: str | None = Field(None, description="Where the external issuer publishes its keys (JWKS); needed with `issuer`.")
    issuer_audience: str = Field("trajops", min_length=1, description="What `aud` of an external token must contain.")
    issuer_role_claim: str = Field(
        "role", min_length=1, description="Claim of an external token with the role, or a list that contains it; dots lead into objects."
    )
    issuer_leeway_s: float = Field(30.0, ge=0, le=600, description="How far the external issuer's clock may be off, seconds.")

    @classmethod
    def from_environment(cls) -> Self:
        """Read every field from its variable.

        Raises:
            EnvironmentProblem: naming the variables whose values cannot be used.
        """
        try:
            return cls()
        except ValidationError as error:
            wrong = [
                f"TRAJOPS_{str(one['loc'][0]).upper()}={one['input']} ({one['msg'][:1].lower()}{one['msg'][1:]})" for one in error.errors()
            ]
            raise EnvironmentProblem(f"{' and '.join(wrong)} cannot be used; docs/settings.md says what each setting takes") from error

    @cached_property
    def sql_url(self) -> str:
        """URL of the control state's database."""
        return self.database_url or f"sqlite:///{self.var_dir.absolute() / 'trajops.db'}"

    @property
    def limit_processes(self) -> int:
        """Processes that a client's limit is shared out among."""
        return self.api_processes or self.api_workers

    @cached_property
    def registry_url(self) -> str:
        """URL of the MLflow tracking server and registry."""
        return self.mlflow_url or f"http://{self.host}:{self.mlflow_port}"

    @cached_property
    def service_url(self) -> str:
        """URL under which clients reach the API."""
        return self.api_url or f"http://{self.host}:{self.api_port}"

    @cached_property
    def console_link(self) -> str:
        """URL under which people reach the console."""
        return (self.console_url or f"http://{self.host}:{self.console_port}").rstrip("/")

    @property
    def spool_dir(self) -> Path:
        """Folder of the append-only segments that API processes write."""
        return self.var_dir / "spool"

    @property
    def lake_dir(self) -> Path:
        """Folder of the Parquet lake."""
        return self.var_dir / "lake"

    @property
    def metrics_dir(self) -> Path:
        """Folder in which the API processes of this machine add up their metrics."""
        return self.var_dir / "metrics"

    @property
    def models_dir(self) -> Path:
        """Folder of the local cache of model artefacts."""
        return self.var_dir / "models"

    @property
    def tasks_dir(self) -> Path:
        """Folder of uploaded tracks, logs and results of tasks; API and workers share it."""
        return self.var_dir / "tasks"

    @property
    def drift_dir(self) -> Path:
        """Folder of the full drift reports."""
        return self.var_dir / "drift"
