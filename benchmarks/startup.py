"""From process start to ready, with a warm model cache: the judged value is the API's; console and workers beside it."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.product import ROOT, Product, api, free_port, prepare, process
from benchmarks.record import Measurement

ROUNDS = 3
# What the API must not import before its first answer.
HEAVY = ("mlflow", "pandas", "evidently", "streamlit", "lightgbm", "sklearn", "duckdb", "pyarrow", "dask", "autograd", "onnx", "plotly")


def run() -> Measurement:
    """Start each process several times."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder))
        seconds = [_api(product) for _ in range(ROUNDS)]
        workers = [_other(product, "workers", "TRAJOPS_WORKERS_PORT", "/healthz") for _ in range(ROUNDS)]
        console = [_other(product, "console", "TRAJOPS_CONSOLE_PORT", "/readyz") for _ in range(ROUNDS)]
    heavy = imported_by_the_api()
    if heavy:
        raise RuntimeError(f"the API imports {', '.join(heavy)} at its start")
    details = {
        "api_s": [round(value, 2) for value in seconds],
        "workers_s": [round(value, 2) for value in workers],
        "console_s": [round(value, 2) for value in console],
    }
    return Measurement(statistics.median(seconds), details)


def _api(product: Product) -> float:
    with process(*api(product, free_port())) as (_, seconds):
        return seconds


def _other(product: Product, module: str, variable: str, path: str) -> float:
    port = free_port()
    environment = {**product.environment(free_port()), variable: str(port)}
    with process([sys.executable, "-m", module], environment, f"http://127.0.0.1:{port}{path}") as (_, seconds):
        return seconds


def imported_by_the_api() -> list[str]:
    """Heavy packages among the modules that importing the API loads."""
    code = f"import sys, api.main; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return answer.stdout.split()
