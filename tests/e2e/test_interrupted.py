"""A demo that is killed, or started twice, or interrupted during its set-up: the next start says so and mends it."""

import json
import os
import signal

import pytest

from deploy.demo.leftovers import left_behind
from tests.e2e.demo_process import Demo, Running

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_killed_supervisor_and_a_half_done_set_up_are_mended_by_the_next_start(trained_demo: Demo) -> None:
    running = Running(trained_demo, "--headless")
    running.wait_for("api: ready")
    second = trained_demo.run("--headless", "--until-healthy")
    assert second.returncode == 1
    assert f"a demo is running on {trained_demo.var_dir} already (process {running.process.pid})" in second.stderr

    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert left_behind(trained_demo.var_dir)
    memory = json.loads((trained_demo.var_dir / "demo.json").read_text())
    (trained_demo.var_dir / "demo.json").write_text(json.dumps({**memory, "is_compared": False, "is_backfilled": False}))
    mended = trained_demo.run("--headless", "--until-healthy")
    assert mended.returncode == 0, mended.stdout + mended.stderr + trained_demo.logs()
    assert "stopped what a killed demo left behind" in mended.stdout
    assert "the models of an earlier start are registered" in mended.stdout
    assert "predictions of the first half, marked as backfill" in mended.stdout
    assert left_behind(trained_demo.var_dir) == []
    running.stop()


def test_a_lost_sign_in_is_made_anew(trained_demo: Demo) -> None:
    path = trained_demo.var_dir / "demo.json"
    before = json.loads(path.read_text())
    path.unlink()
    mended = trained_demo.run("--headless", "--until-healthy")
    assert mended.returncode == 0, mended.stdout + mended.stderr + trained_demo.logs()
    assert json.loads(path.read_text())["password"] != before["password"]


def test_a_closed_terminal_ends_everything(trained_demo: Demo) -> None:
    running = Running(trained_demo, "--headless")
    running.wait_for("api: ready")
    running.process.send_signal(signal.SIGHUP)
    running.process.wait(timeout=60)
    running.stop()
    assert left_behind(trained_demo.var_dir) == []
