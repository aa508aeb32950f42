"""The whole product as a newcomer starts it, on free ports and an empty state folder."""

import socket
from collections.abc import Iterator

import pytest

from tests.e2e.demo_process import Demo, Running


@pytest.fixture(scope="session")
def trained_demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A state folder in which the first start has been healthy once."""
    demo = Demo(tmp_path_factory.mktemp("demo") / "var")
    first = demo.run("--headless", "--until-healthy")
    assert first.returncode == 0, first.stdout + first.stderr + demo.logs()
    assert "healthy: truth has arrived" in first.stdout
    return demo


@pytest.fixture(scope="module")
def running(trained_demo: Demo) -> Iterator[Running]:
    """The demo started again: it resumes, and stops cleanly at the end."""
    running = Running(trained_demo, "--speed", "2")
    try:
        running.wait_for("resuming with the models of an earlier start")
        running.wait_for("healthy: truth has arrived")
        yield running
    finally:
        code = running.stop()
    assert code == 0, "".join(running.output)
    for port in trained_demo.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"something still listens on {port}"
