"""Whether the console grows: fifty operators at once, two hundred script runs each, over the pages of the demo.

Each session is a socket of its own that speaks Streamlit's protocol, as a browser does, and goes from page to page. Memory is what the
console's process holds: after a first round of runs in every session, in which caches fill up, and after the last. The value is the
difference, MB a session. The demo's match has ended, so that no page has more to show in the last run than in the first. When all have
left, and the time for which Streamlit keeps a session that may come back has passed, what is held then is given as well.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.demo import Demo
from benchmarks.record import Measurement

SESSIONS, RUNS, FIRST_RUNS = 50, 200, 20
TRAFFIC_S, KEPT_S, WAIT_S = 60, 150, 120
PAGES = ("", "models", "ab_tests", "live_predict", "performance", "drift", "alerts", "services", "audit", "admin")


def run() -> Measurement:
    """Start the demo and let everybody in."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo.on_free_ports(Path(folder))
        demo.until_healthy()
        with demo.running():
            time.sleep(TRAFFIC_S)
        with demo.serving("api", "API"), demo.serving("console", "CONSOLE") as console:
            return Measurement(*asyncio.run(_measure(demo, console.pid)))


async def _measure(demo: Demo, pid: int) -> tuple[float, dict[str, Any]]:
    name, value = demo.cookie()
    before_mb, begin = _memory_mb(pid), time.perf_counter()
    sockets = [
        await connect(
            demo.url("CONSOLE").replace("http", "ws") + "/_stcore/stream",
            additional_headers={"Cookie": f"{name}={value}"},
            origin=demo.url("CONSOLE"),  # type: ignore[arg-type]
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            compression=None,
            proxy=None,
        )
        for _ in range(SESSIONS)
    ]
    waits: list[float] = []
    await _everybody(sockets, range(FIRST_RUNS), waits)
    filled_mb, waits = _memory_mb(pid), []
    halfway = (FIRST_RUNS + RUNS) // 2
    await _everybody(sockets, range(FIRST_RUNS, halfway), waits)
    half_mb = _memory_mb(pid)
    await _everybody(sockets, range(halfway, RUNS), waits)
    full_mb, lasted_s = _memory_mb(pid), time.perf_counter() - begin
    await asyncio.gather(*(socket.close() for socket in sockets))
    await asyncio.sleep(KEPT_S)
    return (full_mb - filled_mb) / SESSIONS, {
        "sessions": SESSIONS,
        "runs": SESSIONS * RUNS,
        "before_mb": round(before_mb),
        "filled_mb": round(filled_mb),
        "halfway_mb": round(half_mb),
        "full_mb": round(full_mb),
        "left_mb": round(_memory_mb(pid)),
        "a_session_mb": round((full_mb - before_mb) / SESSIONS, 1),
        "runs_per_s": round(SESSIONS * RUNS / lasted_s, 1),
        "run_p95_s": round(sorted(waits)[int(0.95 * len(waits))], 2),
    }


async def _everybody(sockets: list[ClientConnection], runs: range, waits: list[float]) -> None:
    """So many runs in each session, all sessions at once; the seconds that each took."""
    await asyncio.gather(*(_runs(socket, number, runs, waits) for number, socket in enumerate(sockets)))


async def _runs(socket: ClientConnection, number: int, runs: range, waits: list[float]) -> None:
    for turn in runs:
        asked = BackMsg()
        asked.rerun_script.page_name = PAGES[(number + turn) % len(PAGES)]
        asked.rerun_script.query_string = "refresh=off"
        begin = time.perf_counter()
        await socket.send(asked.SerializeToString())
        while (status := await _status(socket)) != ForwardMsg.FINISHED_SUCCESSFULLY:
            if status == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                raise RuntimeError("a page could not be compiled")
        waits.append(time.perf_counter() - begin)


async def _status(socket: ClientConnection) -> int | None:
    """How the script ended, if the next message says so."""
    message = ForwardMsg()
    message.ParseFromString(await asyncio.wait_for(socket.recv(decode=False), WAIT_S))
    if message.WhichOneof("type") == "page_not_found":
        raise RuntimeError("the console has no such page")
    return message.script_finished if message.WhichOneof("type") == "script_finished" else None


def _memory_mb(pid: int) -> float:
    """What the process holds for itself, megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
