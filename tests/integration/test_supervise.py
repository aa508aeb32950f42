"""How the demo ends: what ended it is said, and the exit code tells a journey's end from anything else."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.demo_process import ROOT

PROCFILE = 'api: exec sleep 60\nworkers: echo ready; exec {python} -c "import time; time.sleep({workers_s})"\n'
RUN = """
import sys
from pathlib import Path
from deploy.demo.supervise import run
sys.exit(run(Path(sys.argv[1]), sys.argv[3:], Path(sys.argv[2]), {}, is_verbose=False))
"""


class Supervised:
    """Two services and a journey under the supervisor, in a process of its own."""

    def __init__(self, folder: Path, journey: str, *, workers_s: float = 60) -> None:
        self.logs = folder / "logs"
        procfile = folder / "Procfile"
        procfile.write_text(PROCFILE.format(python=sys.executable, workers_s=workers_s))
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(procfile), str(self.logs), *journey.split()], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def pid(self, service: str) -> int:
        """The process of a service, once all are started."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            system = self.logs / "system.log"
            started = dict(re.findall(r"(\w+) started \(pid=(\d+)\)", system.read_text() if system.exists() else ""))
            if {"api", "workers", "demo"} <= started.keys():
                return int(started[service])
            time.sleep(0.05)
        pytest.fail("the services were not started")

    def press_ctrl_c(self) -> None:
        self.pid("demo")
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Exit code and what was said."""
        said, _ = self._process.communicate(timeout=30)
        return self._process.returncode, said


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "SIGKILL")])
def test_a_service_that_is_ended_by_a_signal_fails_the_demo_and_names_the_signal(tmp_path: Path, number: int, name: str) -> None:
    supervised = Supervised(tmp_path, "sleep 60")
    os.kill(supervised.pid("api"), number)
    code, said = supervised.end()
    assert code == 1
    assert f"api was ended by {name}" in said
    assert said.endswith("stopped; `make demo` resumes\n")


def test_a_service_that_ends_by_itself_fails_the_demo_even_with_code_0(tmp_path: Path) -> None:
    code, said = Supervised(tmp_path, "sleep 60", workers_s=0.5).end()
    assert code == 1
    assert "workers ended with code 0; the end of" in said
    assert "\nready\n" in said, "the last lines of its log"


@pytest.mark.parametrize("journeys", [0, 1])
def test_the_journey_decides_the_exit_code_when_it_ends_first(tmp_path: Path, journeys: int) -> None:
    code, said = Supervised(tmp_path, f"{sys.executable} -c 'exit({journeys})'").end()
    assert (code, said) == (journeys, "")


def test_a_journey_that_is_killed_fails_the_demo(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, "sleep 60")
    os.kill(supervised.pid("demo"), signal.SIGKILL)
    assert supervised.end() == (1, "the demo itself was ended by SIGKILL\nstopped; `make demo` resumes\n")


def test_ctrl_c_is_how_the_demo_is_meant_to_end(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, "sleep 60")
    supervised.press_ctrl_c()
    assert supervised.end() == (0, "stopped; `make demo` resumes\n")
