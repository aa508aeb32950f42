"""The runbook: each alert has an entry, each entry an alert, and every link to it arrives."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from trajops.alerts.rules import AlertRule, AlertRules
from trajops.configs import load
from workers.messages import full_address
from workers.signals import signal_names

ROOT = Path(__file__).parents[2]
RULES = load(ROOT / "configs/alerts.yaml", AlertRules, context={"signals": signal_names()}).rules
ALERTS = [
    rule
    for path in sorted((ROOT / "configs/prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


class Page(HTMLParser):
    """Anchors of the page that is served, what it links to, and the text under each anchor."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.links: list[str] = []
        self.feed((ROOT / "console/runbook.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.texts[given["id"] or ""] = ""
        if tag == "a":
            self.links.append(given["href"] or "")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[list(self.texts)[-1]] += data


PAGE = Page()
NAMES = [rule.name for rule in RULES] + [alert["alert"] for alert in ALERTS]


def arrives(address: str) -> bool:
    """Whether an address of the console is that of an entry."""
    path, _, anchor = address.removeprefix("https://console.test").partition("#")
    return path == "/runbook" and anchor in PAGE.texts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_of_the_product_leads_to_its_entry(rule: AlertRule) -> None:
    assert rule.runbook == f"/runbook#{rule.name}"
    assert arrives(full_address(rule.runbook, "https://console.test"))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_of_prometheus_leads_to_its_entry(alert: dict[str, Any]) -> None:
    address = alert["annotations"]["runbook_url"].replace("{{ $externalLabels.console_url }}", "https://console.test")
    assert arrives(address)


def test_an_address_without_an_entry_does_not_arrive() -> None:
    assert not arrives("https://console.test/runbook#nothing")
    assert not arrives("https://console.test/docs/monitoring.md#trajopsapidown")


def test_the_page_has_an_entry_with_a_text_for_each_alert_and_no_other() -> None:
    assert sorted(PAGE.texts) == sorted(name.lower() for name in NAMES)
    for name in NAMES:
        text = PAGE.texts[name.lower()].split()
        assert text[0] == name
        assert len(text) > 10, f"{name} says hardly anything"


def test_entries_that_name_others_lead_to_them() -> None:
    inner = [link for link in PAGE.links if link.startswith("#")]
    assert len(inner) > len(NAMES)
    assert {link.removeprefix("#") for link in inner} <= PAGE.texts.keys()
    assert [link for link in PAGE.links if not link.startswith("#")] == ["/alerts"]


def test_jobs_settings_and_files_that_it_names_exist() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    settings = (ROOT / "docs/settings.md").read_text()
    assert [one for one in re.findall(r"`(TRAJOPS_\w+)`", text) if f"`{one}`" not in settings] == []
    assert [one for one in re.findall(r"`(configs/[^`]*)`", text) if not (ROOT / one).exists()] == []
    jobs = yaml.safe_load((ROOT / "configs/schedules.yaml").read_text())
    named = re.findall(r"[Tt]he job `(\w+)`", text)
    assert named
    assert [one for one in named if one not in str(jobs)] == []
