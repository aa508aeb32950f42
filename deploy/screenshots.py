"""Screenshots of every console page from the running demo: `python -m deploy.screenshots` writes `docs/screenshots/`."""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

from api.wiring import Parts
from deploy.demo.memory import Memory
from trajops.errors import Conflict
from trajops.settings import Settings

FOLDER = Path("docs/screenshots")
PAGES = ("Overview", "Models", "A/B tests", "Live predict", "Performance", "Drift", "Alerts", "Services", "Jobs", "Audit", "Admin")
FOR_ADMINS = {"Admin"}
IDLE = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking"]
WIDTH, HEIGHT, DRAWN_MS = 1440, 1000, 2500


def main(arguments: Sequence[str] | None = None) -> int:
    """Sign in as the demo's operator, open each page in both themes, and keep what is seen."""
    parser = argparse.ArgumentParser(prog="python -m deploy.screenshots", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where pictures are written (default: {FOLDER})")
    parser.add_argument("--page", action="append", choices=PAGES, help="only this page; may be given again (default: all)")
    options = parser.parse_args(arguments)
    settings = Settings()
    memory = Memory.load(settings.var_dir)
    if memory is None:
        sys.stderr.write("screenshots: the demo is not running; start it with `make demo` and run this beside it\n")
        return 1
    admin = an_admin(settings) if FOR_ADMINS & set(options.page or PAGES) else memory
    options.folder.mkdir(parents=True, exist_ok=True)
    themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        for theme in themes:
            for who, names in ((memory, set(PAGES) - FOR_ADMINS), (admin, FOR_ADMINS)):
                asked = [name for name in options.page or PAGES if name in names]
                if not asked:
                    continue
                page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=theme).new_page()
                page.goto(f"http://{settings.host}:{settings.console_port}")
                page.fill("input[name=username]", who.username)
                page.fill("input[name=password]", who.password)
                page.press("input[name=password]", "Enter")
                page.wait_for_selector(IDLE, timeout=60_000)
                for name in asked:
                    take(page, name, options.folder / f"{name.lower().replace(' ', '-').replace('/', '')}-{theme}.png")
        browser.close()
    return 0


def an_admin(settings: Settings) -> Memory:
    """An admin of the demo, with a password that is new each time; the demo's own user is an operator."""
    parts, name, password = Parts(settings), "admin", secrets.token_urlsafe(9)
    who = {"actor": "screenshots", "reason": "pictures of what admins see"}
    try:
        parts.identity.create_user(name, password, "admin", **who)
    except Conflict:
        parts.identity.set_password(name, password, **who)
    parts.database.close()
    return Memory(name, password, "")


def take(page: Page, name: str, path: Path) -> None:
    """Open a page by its link and keep it whole."""
    page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
    page.get_by_role("heading", name=name, exact=True).first.wait_for()
    page.wait_for_selector(IDLE, timeout=60_000)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": min(2200, height + 40)})
    page.wait_for_timeout(DRAWN_MS)
    page.screenshot(path=path)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


if __name__ == "__main__":
    sys.exit(main())
