"""`make demo` as an operator lives through it: sign in, see accuracy appear, promote, see traffic follow, roll back."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.demo_process import Demo, Running
from trajops.client import TrajOpsClient

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
REASON = "end-to-end test of a release"
Value = TypeVar("Value")


def eventually(what: str, probe: Callable[[], Value], is_right: Callable[[Value], object] = bool, timeout_s: float = 60) -> Value:
    """Wait until what the probe gives is right, and return it."""
    deadline = time.monotonic() + timeout_s
    while not is_right(value := probe()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come within {timeout_s:.0f} s; last seen: {value}")
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """A signed-in console; at the end no request may have gone anywhere else, and no page may have shown an exception."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    foreign: list[str] = []
    own = urlsplit(running.demo.console).netloc
    page.on("request", lambda request: foreign.append(request.url) if urlsplit(request.url).netloc not in {own, ""} else None)
    page.goto(running.demo.console)
    page.fill("input[name=username]", running.demo.memory["username"])
    page.fill("input[name=password]", running.demo.memory["password"])
    page.press("input[name=password]", "Enter")
    settled(page)
    yield page
    context.close()
    assert foreign == []


@pytest.fixture
def client(running: Running) -> TrajOpsClient:
    """The API as the operator."""
    memory = running.demo.memory
    token = TrajOpsClient(running.demo.api).sign_in(memory["username"], memory["password"]).access_token
    return TrajOpsClient(running.demo.api, token)


def settled(page: Page) -> None:
    """Wait until Streamlit is connected and idle."""
    page.wait_for_selector("[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]", timeout=60_000)


def open_page(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
    page.get_by_role("heading", name=name, exact=True).first.wait_for(timeout=30_000)
    settled(page)


def confirm(page: Page, version: int) -> None:
    """Fill the dialog and send it."""
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    dialog.locator("[class*='st-key-confirm-reason-'] textarea").fill(REASON)
    dialog.locator("[class*='st-key-confirm-version-'] input").fill(str(version))
    dialog.locator("[class*='st-key-confirm-version-'] input").press("Tab")
    dialog.locator(".st-key-confirm-submit button").click()
    dialog.wait_for(state="hidden", timeout=30_000)


def versions_answering(client: TrajOpsClient, limit: int = 20) -> set[int]:
    """Versions behind the newest live predictions."""
    return {item.prediction.model_version for item in client.predictions(limit=limit).predictions}


def test_accuracy_appears_as_truth_arrives(page: Page, client: TrajOpsClient) -> None:
    rows = eventually("an accuracy of both versions", lambda: [r for r in client.status().performance if r.ade_m and r.complete > 50])
    assert {row.variant for row in rows} & {"champion", "control", "treatment"}
    assert all(0 < row.ade_m < 15 and 0.5 < row.coverage <= 1 for row in rows)
    text = eventually("the figure on the page", lambda: re.search(r"ADE\D*\d+\.\d+", page.get_by_test_id("stMain").inner_text()))
    assert text
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_promote_the_challenger_and_roll_back(page: Page, client: TrajOpsClient) -> None:
    before = client.routes().current
    assert before.champion is not None
    assert before.challenger is not None
    champion, challenger = before.champion.model_version, before.challenger.model_version

    open_page(page, "Models")
    expect(page.locator(".st-key-champion-card")).to_contain_text(f"v{champion}")
    page.locator(f".st-key-promote-{challenger} button").first.click()
    confirm(page, challenger)
    expect(page.locator(".st-key-champion-card")).to_contain_text(f"v{challenger}", timeout=30_000)
    eventually("traffic on the promoted version", lambda: versions_answering(client), {challenger}.__eq__)
    promoted = client.routes().current
    assert promoted.epoch > before.epoch
    assert promoted.reason == REASON

    settled(page)
    page.locator(".st-key-rollback button").first.click()
    confirm(page, champion)
    expect(page.locator(".st-key-champion-card")).to_contain_text(f"v{champion}", timeout=30_000)
    eventually("traffic on the version before", lambda: versions_answering(client), {champion}.__eq__)
    actions = [entry.action for entry in client.audit(limit=20).entries]
    assert [action for action in actions if action.startswith("deployment.")][:2] == ["deployment.rollback", "deployment.promote"]


@pytest.mark.parametrize("name", ["Live predict", "Drift"])
def test_every_page_opens_with_live_data(page: Page, name: str) -> None:
    open_page(page, name)
    eventually("a chart or a verdict", lambda: page.locator(".js-plotly-plot, [data-testid=stAlert], [data-testid=stMarkdown]").count() > 3)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_jobs_run_and_aliases_follow_in_mlflow(client: TrajOpsClient, running: Running) -> None:
    from data.models.registry import MlflowRegistry

    def succeeded() -> bool:
        jobs = {job.job: job for job in client.jobs().jobs}
        return {"compact_lake", "roll_up", "join_truth", "check_drift", "reconcile_aliases"} <= {
            name for name, job in jobs.items() if job.last_success_at is not None
        }

    eventually("a success of every job", succeeded, timeout_s=150)
    route = client.routes().current
    registry = MlflowRegistry(f"http://127.0.0.1:{running.demo.ports['MLFLOW']}")
    assert route.champion is not None
    eventually("the champion alias", lambda: registry.aliases("trajectory").get("champion") == route.champion.model_version)
    registry.close()


def test_logs_are_structured_lines_with_the_service_name(running: Running) -> None:
    import json

    for service in ("api", "workers", "console"):
        lines = (running.demo.var_dir / "logs" / f"{service}.log").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert records, service
        assert {record["service.name"] for record in records} == {service}


def test_state_stays_private(trained_demo: Demo) -> None:
    assert (trained_demo.var_dir / "demo.json").stat().st_mode & 0o077 == 0
    assert not list(Path(trained_demo.var_dir).rglob("*.pkl"))
