"""What the console reads from the environment; names and defaults are those of the other processes."""

import os
from dataclasses import dataclass
from typing import Self

from trajops.errors import EnvironmentProblem

MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Where the console listens and where it finds the API.

    Attributes:
        host: address that the console listens on.
        port: its port.
        api_url: base address of the prediction API, without a trailing slash.
    """

    host: str
    port: int
    api_url: str

    @classmethod
    def from_environment(cls) -> Self:
        """Read TRAJOPS_HOST, TRAJOPS_CONSOLE_PORT, TRAJOPS_API_PORT and TRAJOPS_API_URL.

        Raises:
            EnvironmentProblem: naming a port that is none.
        """
        host = os.environ.get("TRAJOPS_HOST", "127.0.0.1")
        api_url = os.environ.get("TRAJOPS_API_URL") or f"http://{host}:{_port('TRAJOPS_API_PORT', '8000')}"
        return cls(host=host, port=_port("TRAJOPS_CONSOLE_PORT", "8501"), api_url=api_url.rstrip("/"))


def _port(name: str, default: str) -> int:
    given = os.environ.get(name, default)
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= MOST_PORT:
        raise EnvironmentProblem(f"{name}={given} cannot be used: a port is a whole number from 1 to {MOST_PORT}")
    return int(given)
