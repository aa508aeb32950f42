"""Run the services and the demo's own journey under honcho; logs go to files, progress to the terminal."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import Manager

JOURNEY = "demo"
ENDED = re.compile(r"(?P<service>\w+) stopped \(rc=(?P<code>-?\d+)\)")


class LogPrinter:
    """Writes each service's lines to `var/logs/NAME.log`; only the journey speaks on the terminal."""

    width = 0

    def __init__(self, folder: Path, *, is_verbose: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*.log"):  # one earlier start is kept
            log.replace(log.with_suffix(".log.before"))
        self._folder = folder
        self._is_verbose = is_verbose
        self._files: dict[str, Any] = {}
        self._is_ending = False

    def write(self, message: Any) -> None:
        """Take one honcho message."""
        try:
            self._write(message)
        except OSError:  # the terminal is gone; the services' logs do not depend on it
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of this process

    def _write(self, message: Any) -> None:
        text = message.data.decode("utf-8", "replace") if isinstance(message.data, bytes) else message.data
        if message.name == JOURNEY:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        if message.name not in self._files:
            self._files[message.name] = (self._folder / f"{message.name}.log").open("a", buffering=1)
        self._files[message.name].write(text)
        if self._is_verbose:
            sys.stdout.write(f"{message.name:<8} | {text}")
        ended = ENDED.match(text) if message.name == "system" and not self._is_ending else None
        if ended is not None:
            self._is_ending = True
            if ended["service"] == JOURNEY and int(ended["code"]) < 0:
                sys.stdout.write(f"the demo itself was ended by signal {-int(ended['code'])}\n")
            elif ended["service"] != JOURNEY:
                log = self._folder / f"{ended['service']}.log"
                last = log.read_text().splitlines()[-5:] if log.exists() else []
                sys.stdout.write("\n".join([f"{ended['service']} ended with code {ended['code']}; the end of {log}:", *last, ""]))
        self._is_ending = self._is_ending or (message.name == "system" and "received" in text)
        sys.stdout.flush()


def run(procfile: Path, journey: list[str], logs: Path, environment: dict[str, str], *, is_verbose: bool) -> int:
    """Start everything and stay until the journey or a service ends, or a signal comes; return the exit code."""
    manager = Manager(LogPrinter(logs, is_verbose=is_verbose))
    env = {**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    for name, command in parse_procfile(procfile.read_text()).processes.items():
        manager.add_process(name, command, env=env)
    # A terminal that is closed ends the demo as Ctrl-C does.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.add_process(JOURNEY, "exec " + " ".join(journey), env=env)
    manager.loop()
    code: int = manager.returncode or 0
    return 0 if code == 130 else code  # Ctrl-C is how the demo is meant to end.
