"""axe-core on a page: what it finds serious, beside what is allowed."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS = {"serious", "critical"}
# Rule of axe-core, and the selector in Streamlit's own markup of what breaks it, which no page of ours can mend.
ALLOWED = [
    ("color-contrast", "[data-testid=stSliderThumbValue]"),  # in the primary colour, which is chosen for white text on it
]
IS_WITHIN = "([target, selector]) => !!document.querySelector(target)?.closest(selector)"


def findings(page: Page) -> list[str]:
    """What axe-core finds serious on the page as it is."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
        if not any(one["id"] == rule and page.evaluate(IS_WITHIN, [node["target"][0], selector]) for rule, selector in ALLOWED)
    ]
