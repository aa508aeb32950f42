"""`make demo`: prepare the state, start every service, train, deploy, replay, and say where to look."""

import argparse
import secrets
import sys
from pathlib import Path

from api.wiring import Parts
from deploy.demo.leftovers import MARK, claim, stop
from deploy.demo.memory import Memory
from deploy.demo.preflight import check_folder, check_ports
from deploy.demo.supervise import run
from trajops.errors import Conflict, TrajOpsError
from trajops.settings import Settings


def prepare(settings: Settings) -> Memory:
    """Make the database and, on the first start, the operator and the replay's API key."""
    parts = Parts(settings)
    parts.database.migrate()
    (settings.var_dir / "mlflow").mkdir(parents=True, exist_ok=True)
    memory = Memory.load(settings.var_dir)
    if memory is None:
        who = {"actor": "make demo", "reason": "first start of the demo"}
        password = secrets.token_urlsafe(9)
        try:
            parts.identity.create_user("operator", password, "operator", **who)
        except Conflict:  # demo.json is gone, the database is not
            parts.identity.set_password("operator", password, **who)
        memory = Memory("operator", password, parts.identity.create_api_key("demo replay", "viewer", **who)[0])
        memory.save(settings.var_dir)
    parts.database.close()
    return memory


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the child processes read them, and the switches that keep libraries from calling home."""
    return {
        "TRAJOPS_ENVIRONMENT": settings.environment,
        "TRAJOPS_VAR_DIR": str(settings.var_dir.absolute()),
        "TRAJOPS_HOST": settings.host,
        "TRAJOPS_API_PORT": str(settings.api_port),
        "TRAJOPS_CONSOLE_PORT": str(settings.console_port),
        "TRAJOPS_MLFLOW_PORT": str(settings.mlflow_port),
        "TRAJOPS_WORKERS_PORT": str(settings.workers_port),
        MARK: str(settings.var_dir.absolute()),
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def main() -> int:
    """Parse, check, prepare, run."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--speed", type=float, default=1.0, help="replay faster than the match was played (default 1)")
    parser.add_argument("--headless", action="store_true", help="no banner at the end")
    parser.add_argument("--until-healthy", action="store_true", help="stop with 0 once predictions are scored by truth, or with 1")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds that --until-healthy waits (default 300)")
    parser.add_argument("--verbose", action="store_true", help="show the services' log lines too")
    args = parser.parse_args()
    if not 0.1 <= args.speed <= 50:
        parser.error("--speed must be between 0.1 and 50")
    try:
        settings = Settings.from_environment()
        check_folder(settings.var_dir)
        lock = claim(settings.var_dir)
        stopped = stop(settings.var_dir)
        if stopped:
            sys.stdout.write(f"stopped what a killed demo left behind: processes {', '.join(map(str, stopped))}\n")
        check_ports(settings)
        prepare(settings)
    except TrajOpsError as problem:
        sys.stderr.write(f"demo: {problem.message}\n")
        return 1
    journey = [sys.executable, "-m", "deploy.demo.journey", "--speed", str(args.speed), "--timeout", str(args.timeout)]
    journey += ["--headless"] * args.headless + ["--until-healthy"] * args.until_healthy
    with lock:
        return run(Path("Procfile"), journey, settings.var_dir / "logs", environment(settings), is_verbose=args.verbose)
