"""What must be true of the machine before anything starts; each failure is one sentence that says what to do."""

import itertools
import shutil
import socket
from pathlib import Path

from trajops.errors import EnvironmentProblem
from trajops.settings import Settings

FREE_BYTES = 500 * 1024 * 1024
SERVICES = ("mlflow", "api", "console", "workers")


def check_ports(settings: Settings) -> None:
    """Raise EnvironmentProblem for the first port that two services were given, or that something else listens on."""
    ports = {service: getattr(settings, f"{service}_port") for service in SERVICES}
    for one, other in itertools.combinations(SERVICES, 2):
        if ports[one] == ports[other]:
            free = next(port for port in itertools.count(ports[other] + 10, 10) if port not in ports.values())
            raise EnvironmentProblem(
                f"port {ports[one]} is given to {one} and to {other} alike; choose another for one of them: "
                f"TRAJOPS_{other.upper()}_PORT={free} make demo"
            )
    for service, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise EnvironmentProblem(
                    f"port {port} ({service}) cannot be used ({error.strerror}); stop what listens there, or choose another: "
                    f"TRAJOPS_{service.upper()}_PORT={port + 10} make demo"
                ) from error


def check_folder(folder: Path) -> None:
    """Raise EnvironmentProblem unless the state folder can be written and has room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write-probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise EnvironmentProblem(
            f"the folder {folder} cannot be written ({error.strerror}); make it writable, "
            "or choose another: TRAJOPS_VAR_DIR=/path make demo"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise EnvironmentProblem(
            f"only {free // 2**20} MiB are free under {folder} and the demo needs {FREE_BYTES // 2**20}; "
            "free some, or choose another folder: TRAJOPS_VAR_DIR=/path make demo"
        )
