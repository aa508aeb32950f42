"""A real Prometheus for the tests that need one, with the configuration that users get."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.installed import free_port, need, started

SHIPPED = Path(__file__).resolve().parents[1] / "configs/prometheus"


class Prometheus:
    """Prometheus on a port of its own, over a copy of the shipped configuration that looks more often.

    Args:
        folder: for its state, log and copy.
        targets: name of a file in `targets/` → addresses, `host:port`.
        wait_s: what every `for` of a rule is cut to; None: as it is shipped.
    """

    def __init__(self, folder: Path, *, wait_s: float | None = None, **targets: list[str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "prometheus.log"
        copy = folder / "prometheus-config"
        shutil.copytree(SHIPPED, copy)
        for name in ("api", "workers", "alertmanager"):
            (copy / f"targets/{name}.yml").write_text(yaml.safe_dump([{"targets": targets.get(name, [])}]))
        main = yaml.safe_load((copy / "prometheus.yml").read_text())
        main["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        (copy / "prometheus.yml").write_text(yaml.safe_dump(main).replace("127.0.0.1:9090", f"127.0.0.1:{self.port}"))
        if wait_s is not None:
            for rules in (copy / "rules").glob("*.yml"):
                rules.write_text(re.sub(r"(?m)^(\s+for: ).*$", rf"\g<1>{wait_s:g}s", rules.read_text()))
        options = [f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        self._process = started(["prometheus", f"--config.file={copy / 'prometheus.yml'}", *options], self.log, self.is_ready)

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=2).is_success
        except httpx.HTTPError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression as of now: `metric` and `value`."""
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": expression}, trust_env=False, timeout=10)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with their health."""
        groups = httpx.get(f"{self.url}/api/v1/rules", trust_env=False, timeout=10).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    """Starts Prometheus over targets."""
    need("prometheus", "prometheus")
    running: list[Prometheus] = []

    def start(**options: Any) -> Prometheus:
        running.append(Prometheus(tmp_path, **options))
        return running[-1]

    yield start
    for one in running:
        one.stop()
