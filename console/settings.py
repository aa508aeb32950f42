"""What the console reads from the environment; names and defaults are those of the other processes."""

import os
from dataclasses import dataclass
from typing import Self


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
        """Read TRAJOPS_HOST, TRAJOPS_CONSOLE_PORT, TRAJOPS_API_PORT and TRAJOPS_API_URL."""
        host = os.environ.get("TRAJOPS_HOST", "127.0.0.1")
        api_port = os.environ.get("TRAJOPS_API_PORT", "8000")
        api_url = os.environ.get("TRAJOPS_API_URL") or f"http://{host}:{api_port}"
        return cls(host=host, port=int(os.environ.get("TRAJOPS_CONSOLE_PORT", "8501")), api_url=api_url.rstrip("/"))
