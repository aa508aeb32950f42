"""Run the services and the demo's own journey under honcho; logs go to files, progress to the terminal."""

import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import Manager

JOURNEY = "demo"
CTRL_C = 130
STOPPED = re.compile(r"(?P<name>\w+) stopped \(rc=(?P<code>-?\d+)\)")
RESUME = "stopped; `make demo` resumes"


@dataclass(frozen=True)
class End:
    """The process that stopped first: all others are stopped because of it.

    Attributes:
        name: of the process.
        code: its exit code; negative for the signal that ended it.
    """

    name: str
    code: int

    @property
    def words(self) -> str:
        """How it ended, as a sentence without its end."""
        name = "the demo itself" if self.name == JOURNEY else self.name
        return f"{name} was ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"{name} ended with code {self.code}"


class LogPrinter:
    """Writes each service's lines to `var/logs/NAME.log`; only the journey speaks on the terminal.

    Attributes:
        end: what stopped by itself; None while everything runs, or where a signal to the demo came first.
    """

    width = 0

    def __init__(self, folder: Path, *, is_verbose: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*.log"):  # one earlier start is kept
            log.replace(log.with_suffix(".log.before"))
        self.end: End | None = None
        self._folder = folder
        self._is_verbose = is_verbose
        self._files: dict[str, Any] = {}
        self._is_ending = False

    def write(self, message: Any) -> None:
        """Take one honcho message."""
        text = message.data.decode("utf-8", "replace") if isinstance(message.data, bytes) else message.data
        if message.name == JOURNEY:
            self.say(text)
            return
        if message.name not in self._files:
            self._files[message.name] = (self._folder / f"{message.name}.log").open("a", buffering=1)
        self._files[message.name].write(text)
        if self._is_verbose:
            self.say(f"{message.name:<8} | {text}")
        if message.name == "system" and not self._is_ending:
            self._watch(text)

    def say(self, text: str) -> None:
        """Write to the terminal."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:  # the terminal is gone; the services' logs do not depend on it
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of this process

    def _watch(self, text: str) -> None:
        """Learn from the supervisor's own lines what ends the demo, and show the last words of a service that does."""
        stopped = STOPPED.match(text)
        self._is_ending = stopped is not None or "received" in text
        if stopped is None:
            return
        self.end = End(stopped["name"], int(stopped["code"]))
        if self.end.name != JOURNEY:
            log = self._folder / f"{self.end.name}.log"
            last = log.read_text().splitlines()[-5:] if log.exists() else []
            self.say("\n".join([f"{self.end.words}; the end of {log}:", *last, ""]))
        elif self.end.code < 0:
            self.say(f"{self.end.words}\n")


def run(procfile: Path, journey: list[str], logs: Path, environment: dict[str, str], *, is_verbose: bool) -> int:
    """Start everything and stay until the journey or a service ends, or a signal comes.

    Returns:
        What the journey returned; 0 after Ctrl-C, which is how the demo is meant to end; 143 after SIGTERM; and 1 where anything
        else ended first, however it ended: no service may end while the demo runs.
    """
    printer = LogPrinter(logs, is_verbose=is_verbose)
    manager = Manager(printer)
    env = {**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    for name, command in parse_procfile(procfile.read_text()).processes.items():
        manager.add_process(name, command, env=env)
    # A terminal that is closed ends the demo as Ctrl-C does.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.add_process(JOURNEY, "exec " + " ".join(journey), env=env)
    manager.loop()
    end = printer.end
    if end is not None and end.name == JOURNEY and end.code >= 0:
        return end.code
    printer.say(f"{RESUME}\n")
    if end is not None:
        return 1
    code: int = manager.returncode or 0
    return 0 if code == CTRL_C else code
