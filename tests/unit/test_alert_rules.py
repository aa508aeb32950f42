"""The model of `configs/alerts.yaml`: what ships works, and each mistake is named with its line."""

import math
from pathlib import Path

import pytest
import yaml

from trajops import configs
from trajops.alerts.rules import AlertRules, Condition
from trajops.errors import InvalidInput
from workers.signals import signal_names

SHIPPED = Path(__file__).parents[2] / "configs/alerts.yaml"
DOCUMENT = Path(__file__).parents[2] / "docs/alerts.md"
KNOWN = {"signals": signal_names()}
RULE = "  - {name: a, title: A rule, signal: job_late, when: '>= 1', severity: info}\n"
MAIL = "  - {kind: email, name: mail, host: h, sender: a@b, to: [c@d]}\n"


def test_what_ships_is_valid_and_tells_nobody() -> None:
    rules = configs.load(SHIPPED, AlertRules, KNOWN)
    assert rules.receivers == ()
    written = yaml.safe_load(SHIPPED.read_text())
    for part in ("grouping", "delivery"):  # an operator sees whatever can be set
        assert written[part].keys() == getattr(rules, part).model_dump().keys()
    assert written.keys() == rules.model_dump().keys()


def test_what_ships_as_an_example_is_valid() -> None:
    """The lines that are commented out, taken in."""
    text = SHIPPED.read_text().partition("grouping:")[0]
    text = "".join(line.replace("  # ", "  ", 1) for line in text.splitlines(keepends=True))
    text = text.replace("receivers: []\n", "receivers:\n").replace("routes: []\n", "routes:\n")
    rules = AlertRules.model_validate(yaml.safe_load(text))
    assert [one.kind for one in rules.receivers] == ["email", "slack", "alertmanager"]
    assert len(rules.routes) == 2


def test_the_examples_of_the_documentation_are_valid() -> None:
    blocks = [block.partition("```")[0] for block in DOCUMENT.read_text().split("```yaml\n")[1:]]
    rules, receivers = (yaml.safe_load(block) for block in blocks[:2])
    found = AlertRules.model_validate({**rules, **receivers}, context=KNOWN)
    assert [len(found.rules), len(found.receivers), len(found.routes)] == [1, 3, 2]


def test_every_signal_is_documented() -> None:
    text = DOCUMENT.read_text()
    assert [name for name in signal_names() if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules:\n" + RULE + RULE, ["2: rules.0.name: 'a' stands twice", "3: rules.1.name: 'a' stands twice"]),
        ("rules:\n" + RULE.replace("job_late", "jobs_late"), ["2: rules.0.signal: Value error, there is no signal 'jobs_late'"]),
        ("rules:\n" + RULE.replace(">= 1", "=> 1"), ["2: rules.0.when: Value error, '=> 1' is no condition"]),
        ("rules:\n" + RULE.replace(">= 1", ">= nan"), ["2: rules.0.when: Value error, '>= nan' is no condition"]),
        (
            "rules:\n" + RULE.replace(">= 1'", ">= 2', resolve_when: '> 0'"),
            ["2: rules.0.resolve_when: Value error, at 2 both `when: >= 2` and `resolve_when: > 0` hold"],
        ),
        ("rules:\n" + RULE.replace("}", ", for_s: .inf}"), ["2: rules.0.for_s: Input should be a finite number"]),
        ("rules:\n" + RULE.replace("}", ", resolve_after_s: .nan}"), ["2: rules.0.resolve_after_s: Input should be"]),
        ("rules:\n" + RULE.replace("}", ", match: ['job=~(a+)+b']}"), ["2: rules.0.match.0: Value error, the regular expression '(a+)+b'"]),
        ("rules:\n" + RULE.replace("info", "bad"), ["2: rules.0.severity: Input should be 'info', 'warning' or 'critical'"]),
        ("rules:\n  - name: a\n    title: A rule\n    signal: job_late\n    severity: info\n", ["2: rules.0.when: Field required"]),
        ("rules:\n" + RULE.replace("}", ", summary: '{0.x}'}"), ["2: rules.0.summary: Value error, {0.x} cannot be filled in"]),
        ("rules:\n" + RULE.replace("}", ", summary: '{value'}"), ["2: rules.0.summary: Value error"]),
        ("rules:\n" + RULE.replace("}", ", for_s: yes}"), ["2: rules.0.for_s: Input should be a valid number"]),
        # An Alertmanager would refuse all alerts of a post with such a label.
        ("rules:\n" + RULE.replace("}", ", labels: {my-team: x}}"), ["2: rules.0.labels.my-team.[key]: String should match"]),
        ("rules:\n" + RULE.replace("}", ", match: ['job']}"), ["2: rules.0.match.0: Value error, 'job' is no matcher"]),
        ("rules:\n" + RULE.replace("}", ", match: ['job=~(']}"), ["2: rules.0.match.0: Value error, '(' is no regular expression"]),
        ("rules:\n" + RULE.replace("}", ", escalate: {after_s: 1}}"), ["2: rules.0.escalate: Value error, name a severity, receivers"]),
        (
            "rules:\n" + RULE.replace("severity: info", "severity: critical, escalate: {after_s: 1, severity: info}"),
            ["2: rules.0.escalate.severity: info is milder than the rule's critical"],
        ),
        (
            "rules:\n" + RULE.replace("}", ", escalate: {after_s: 1, receivers: [x]}}"),
            ["2: rules.0.escalate.receivers.0: there is no receiver 'x'"],
        ),
        (
            "receivers:\n" + MAIL + "routes:\n  - receivers:\n      - mail\n      - chat\n",
            ["6: routes.0.receivers.1: there is no receiver 'chat'"],
        ),
        (
            "receivers:\n  - kind: slack\n    name: chat\n    url: https://hooks\n",
            ["2: receivers.0.slack.url_env: Field required", "4: receivers.0.slack.url: Extra"],
        ),
        (
            "receivers:\n  - kind: slack\n    name: chat\n    url_env: https://hooks/secret\n",
            ["4: receivers.0.slack.url_env: String should match"],
        ),
        ("receivers:\n  - kind: pager\n    name: p\n", ["2: receivers.0: Input tag 'pager'"]),
        ("receivers:\n" + MAIL.replace("}", ", username: u}"), ["2: receivers.0.email: Value error, give both username and password_env"]),
        ("receivers:\n" + MAIL.replace("a@b", "'a@b\\nBcc: x@y'"), ["2: receivers.0.email.sender: String should match"]),
        (
            "receivers:\n" + MAIL.replace("host: h", "host: h, tls: none"),
            ["2: receivers.0.email.tls: Input should be 'starttls' or 'implicit'"],
        ),
        ("grouping:\n  by: [rule]\n  wait: 3\n", ["3: grouping.wait: Extra inputs are not permitted"]),
        ("rules:\n  - [\n", ["3: not valid YAML"]),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, said: list[str]) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        configs.load(file, AlertRules, KNOWN)
    lines = caught.value.message.splitlines()
    assert len(lines) == len(said)
    for line, expected in zip(lines, said, strict=True):
        assert line.startswith(f"{file}:{expected}")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("written", "value", "holds"),
    [
        (">= 2", 2, True),
        (">=2", 1.9, False),
        ("> 2", 2, False),
        ("< -1.5", -2, True),
        ("<= 1e3", 1000, True),
        ("== 0", 0, True),
        ("!= 0", 0, False),
    ],
)
def test_conditions(written: str, value: float, holds: bool) -> None:
    assert Condition.parse(written).holds(value) is holds


def test_a_condition_is_written_as_it_is_read() -> None:
    assert [str(Condition.parse(text)) for text in (">=2", "<  0.50")] == [">= 2", "< 0.5"]


@pytest.mark.parametrize(
    ("when", "resolve_when", "common"),
    [
        (">= 2", "< 1", None),
        (">= 2", "< 2", None),
        ("> 2", "<= 2", None),
        ("== 1", "!= 1", None),
        ("< 0.1", ">= 0.2", None),
        (">= 2", "<= 2", 2),
        ("> 1", "< 3", 2),
        ("!= 1", "> 1", math.nextafter(1, 2)),
        ("< 5", "<= 4", 4),
    ],
)
def test_conditions_that_hold_together(when: str, resolve_when: str, common: float | None) -> None:
    assert Condition.parse(when).common(Condition.parse(resolve_when)) == common
    assert (Condition.parse(resolve_when).common(Condition.parse(when)) is None) == (common is None)
