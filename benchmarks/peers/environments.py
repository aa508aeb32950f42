"""An environment for each peer, outside of the repository, made once: `~/.cache/trajops/peers/NAME`, or under `XDG_CACHE_HOME`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

UVLOOP = ("uvloop", "httptools")
# MLServer 1.7.1 does not start with uvloop 0.22 or newer. Each gets uvloop and httptools, as our API has them.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "mlflow": (f"mlflow=={version('mlflow')}", f"onnx=={version('onnx')}", f"onnxruntime=={version('onnxruntime')}", *UVLOOP),
    "mlserver": ("mlserver==1.7.1", "uvloop<0.22", "httptools"),
    "bentoml": ("bentoml==1.4.40", "orjson", *UVLOOP),
}
SHOWN = ("mlflow", "mlserver", "bentoml", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pydantic", "numpy", "onnxruntime")


class NoEnvironment(RuntimeError):
    """A peer could not be installed; the message says what to do."""


def environment(name: str) -> Path:
    """The `bin` folder of a peer's environment, made if it is missing or was made for other requirements.

    Raises:
        NoEnvironment: if its packages cannot be installed.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trajops" / "peers" / name
    stamp, wanted = folder / "installed.json", json.dumps(REQUIREMENTS[name])
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run(name, [sys.executable, "-m", "venv", "--without-pip", str(folder)])
        _run(name, _install(folder / "bin" / "python", REQUIREMENTS[name]))
        stamp.write_text(wanted)
    return folder / "bin"


def versions(bin_folder: Path) -> dict[str, str]:
    """What is installed there of the packages that matter."""
    code = (
        "import json; from importlib.metadata import distributions; "
        f"print(json.dumps({{d.name.lower(): d.version for d in distributions() if d.name.lower() in {SHOWN!r}}}))"
    )
    found: dict[str, str] = json.loads(
        subprocess.run([bin_folder / "python", "-c", code], capture_output=True, text=True, check=True).stdout
    )
    return {name: found[name] for name in SHOWN if name in found}


def _install(python: Path, requirements: Sequence[str]) -> list[str]:
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        return [str(uv), "pip", "install", "-q", "--python", str(python), *requirements]
    return [sys.executable, "-m", "pip", "-q", "--python", str(python), "install", *requirements]


def _run(name: str, command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoEnvironment(
            f"{name} could not be installed for the comparison: {done.stderr.strip()[-600:]}\n"
            "It needs a package index that pip can reach; set UV_INDEX_URL or PIP_INDEX_URL to yours and run the benchmark again."
        )
