"""How long an operator waits for the console: in Chromium, while the demo replays a match on the same machine.

A page switch lasts from the click on its link until its heading is there, the script has ended, and every figure is drawn. Each page is
visited once before, so that its code is loaded; then several times, and the median counts. The value is the slowest page's, seconds.

A trivial action opens a form and asks nobody: milliseconds from the click on "Change password" until the dialog is in the document. The
same is measured of a console that lacks the fixes of its server (`streamlit run`: no frozen heap, a full collection after each run, no
TCP_NODELAY), and of the confirmation of the kill switch, on a page full of figures: there it is the browser that takes longer.
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.demo import Demo
from benchmarks.product import ROOT, free_port, process
from benchmarks.record import Measurement

TRAFFIC_S, VISITS, CLICKS = 60, 5, 15
CHROMIUM, ARGUMENTS = "/usr/bin/chromium", ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
IDLE = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
TITLES = "[data-testid=stSidebarNavLink]"
SWITCH = f"""
async title => {{
  const link = [...document.querySelectorAll('{TITLES}')].find(one => one.innerText.trim().endsWith(title));
  const frame = () => new Promise(requestAnimationFrame), begin = performance.now();
  link.click();
  const isDrawn = () => document.querySelector('h1')?.innerText.trim() === title && document.querySelector('{IDLE}')
    && !document.querySelector('[data-testid=stSkeletonElement]')
    && [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(one => one.querySelector('.main-svg'));
  while (!isDrawn()) {{ if (performance.now() - begin > 30000) return -1; await frame(); }}
  return performance.now() - begin;
}}
"""
PASSWORD, KILL_SWITCH = ("jobs", ".st-key-own-password button"), ("ab_tests", ".st-key-ab-switch button")
OPEN = """
button => new Promise(resolve => {
  const begin = performance.now();
  new MutationObserver((_, watching) => {
    if (document.querySelector('[role=dialog]')) { watching.disconnect(); resolve(performance.now() - begin); }
  }).observe(document.body, {childList: true, subtree: true});
  document.querySelector(button).click();
})
"""


def run() -> Measurement:
    """Start the demo, let traffic come, and click."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        demo = Demo.on_free_ports(Path(folder))
        demo.until_healthy()
        with demo.running():
            time.sleep(TRAFFIC_S)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            name, value = demo.cookie()
            context = browser.new_context(viewport={"width": 1440, "height": 1000})
            context.add_cookies([{"name": name, "value": value, "url": demo.url("CONSOLE")}])
            page = context.new_page()
            switches = _switches(page, demo.url("CONSOLE"))
            clicks = _clicks(page, demo.url("CONSOLE"), *PASSWORD)
            busy = _clicks(page, demo.url("CONSOLE"), *KILL_SWITCH)
            with _as_streamlit_runs_it(demo) as url:
                unfixed = _clicks(page, url, *PASSWORD)
            browser.close()
    medians = {title: statistics.median(waits) for title, waits in switches.items()}
    return Measurement(
        max(medians.values()),
        {
            "click_to_dom_ms": round(statistics.median(clicks), 1),
            "click_to_dom_worst_ms": round(max(clicks), 1),
            "click_to_dom_without_fixes_ms": round(statistics.median(unfixed), 1),
            "kill_switch_to_dom_ms": round(statistics.median(busy), 1),
            "switch_s": {title: round(wait, 2) for title, wait in medians.items()},
            "switch_worst_s": round(max(wait for waits in switches.values() for wait in waits), 2),
        },
    )


def _switches(page: Page, url: str) -> dict[str, list[float]]:
    """Seconds of each visit of each page, warm."""
    page.goto(f"{url}/?refresh=off")
    page.wait_for_selector(IDLE, timeout=60_000)
    titles = [one.strip().split("\n")[-1] for one in page.locator(TITLES).all_inner_texts()]
    waits: dict[str, list[float]] = {title: [] for title in titles}
    for visit in range(VISITS + 1):
        for title in (*titles[1:], titles[0]):
            waited_ms = page.evaluate(SWITCH, title)
            if waited_ms < 0:
                raise RuntimeError(f"the page {title} was not drawn within 30 s")
            if visit:
                waits[title].append(waited_ms / 1e3)
            page.wait_for_timeout(200)
    return waits


def _clicks(page: Page, url: str, where: str, button: str) -> list[float]:
    """Milliseconds from a click until the dialog is there; the first is not counted."""
    page.goto(f"{url}/{where}?refresh=off")
    page.locator(button).first.wait_for(timeout=60_000)
    waits = []
    for _ in range(CLICKS + 1):
        page.wait_for_selector(IDLE, timeout=60_000)
        page.wait_for_timeout(300)
        waits.append(page.evaluate(OPEN, button))
        page.get_by_role("dialog").get_by_role("button").first.click()
        page.get_by_role("dialog").wait_for(state="hidden")
    return waits[1:]


@contextlib.contextmanager
def _as_streamlit_runs_it(demo: Demo) -> Iterator[str]:
    """The same pages over the same API, without the fixes."""
    port = free_port()
    options = {"server.port": port, "server.address": "127.0.0.1", "runner.postScriptGC": "true"}
    command = [sys.executable, "-m", "streamlit", "run", "console/app.py", *(f"--{name}={value}" for name, value in options.items())]
    environment = {**demo.environment, "TRAJOPS_API_URL": demo.url("API"), "PYTHONPATH": str(ROOT)}
    with process(command, environment, f"http://127.0.0.1:{port}/_stcore/health"):
        yield f"http://127.0.0.1:{port}"
