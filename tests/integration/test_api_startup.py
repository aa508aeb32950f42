"""The API starts without the heavy libraries, and its OpenAPI document says what its routes do."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "mlflow",
    "pandas",
    "sklearn",
    "streamlit",
    "evidently",
    "lightgbm",
    "dask",
    "distributed",
    "duckdb",
    "pyarrow",
    "onnxruntime",
    "scipy",
)
# What no API of this kind can do without; the limit of its start is measured in the same run, because machines differ.
NEEDED = "import fastapi, sqlalchemy, numpy, httpx, jwt, msgspec, pydantic_settings, prometheus_client"
LIBRARIES = f"import time; started = time.process_time(); {NEEDED}; print(time.process_time() - started)"
START = """
import asyncio, json, sys, tempfile, time
from pathlib import Path
started = time.process_time()
from api.main import create_app
from trajops.settings import Settings
app = create_app(Settings(var_dir=Path(tempfile.mkdtemp()), environment="test", mlflow_url="http://127.0.0.1:9"))
async def serve():
    async with app.router.lifespan_context(app):
        return time.process_time() - started
seconds = asyncio.run(serve())
print(json.dumps({"seconds": seconds, "modules": [name for name in sys.argv[1:] if name in sys.modules]}))
"""


def test_start_imports_nothing_heavy_and_is_quick() -> None:
    def run(code: str, *arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout

    limits_s, found = [], []
    for _ in range(3):
        limits_s.append(float(run(LIBRARIES)))
        found.append(json.loads(run(START, *HEAVY)))
    assert [one["modules"] for one in found] == [[]] * 3
    assert min(one["seconds"] for one in found) < 2.0 * min(limits_s)


def test_openapi_is_the_same_at_every_run_and_documents_the_hot_path() -> None:
    first, second = (
        subprocess.run([sys.executable, "-m", "api.openapi"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
        for _ in range(2)
    )
    assert first == second
    document = json.loads(first)
    predict = document["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/PredictIn")
    assert predict["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/PredictOut")
    assert predict["responses"]["422"]["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
    assert predict["security"] == [{"HTTPBearer": []}]
    assert "recorded before it leaves" in predict["description"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids)) == 124
    assert all(operation.get("summary") and operation.get("description") for operation in operations)
    open_routes = {"/healthz", "/readyz", "/metrics", "/v1/token", "/v2/health/live", "/v2/health/ready", "/ping", "/health"}
    unguarded = {path for path, item in document["paths"].items() for operation in item.values() if not operation.get("security")}
    assert unguarded == open_routes
