"""A real Alertmanager for the tests that need one."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.installed import free_port, need, started


class Alertmanager:
    """Alertmanager on a port of its own.

    Args:
        folder: for its state and log.
        config: its configuration file.
    """

    def __init__(self, folder: Path, config: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "alertmanager.log"
        address = f"--web.listen-address=127.0.0.1:{self.port}"
        command = ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={folder / 'alertmanager'}", address]
        self._process = started([*command, "--cluster.listen-address="], self.log, self.is_ready)

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=2).is_success
        except httpx.HTTPError:
            return False

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """The alerts that it knows with these labels, inhibited ones included."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v2/alerts", trust_env=False, timeout=5).json()
        return [alert for alert in found if labels.items() <= alert["labels"].items()]

    def post(self, *alerts: dict[str, Any]) -> None:
        """Hand over alerts as Prometheus does."""
        httpx.post(f"{self.url}/api/v2/alerts", json=list(alerts), trust_env=False, timeout=5).raise_for_status()

    def tool(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run amtool against it."""
        return subprocess.run(["amtool", f"--alertmanager.url={self.url}", *arguments], check=check, capture_output=True, text=True)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


def posting_to(folder: Path, webhook: str = "http://127.0.0.1:9/", credential: str = "none") -> Path:
    """A configuration with which everything is posted to one webhook at once."""
    path = folder / "alertmanager.yml"
    path.write_text(
        f"""
route: {{receiver: trajops, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: trajops
    webhook_configs:
      - url: {webhook}
        send_resolved: true
        http_config: {{authorization: {{credentials: {credential}}}}}
"""
    )
    subprocess.run(["amtool", "check-config", path], check=True, capture_output=True)
    return path


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Callable[[Path], Alertmanager]]:
    """Starts Alertmanager with a configuration."""
    need("prometheus-alertmanager", "prometheus-alertmanager")
    need("amtool", "prometheus-alertmanager")
    running: list[Alertmanager] = []

    def start(config: Path) -> Alertmanager:
        running.append(Alertmanager(tmp_path, config))
        return running[-1]

    yield start
    for one in running:
        one.stop()
