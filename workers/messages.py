"""What a notification says: as text, as HTML, as Slack's blocks. Everything that comes from outside is escaped and shortened."""

from collections.abc import Sequence
from html import escape
from typing import Any

from trajops.alerts.lifecycle import AlertState
from trajops.alerts.outbox import Notification
from trajops.contracts.alerts import AlertOut

MOST_SUBJECT = 200
MOST_ALERTS = 20
MOST_TEXT = 600
# Slack refuses a block whose text is longer than 3,000 characters, and a header longer than 150.
MOST_SLACK_TEXT = 2900
MOST_SLACK_HEADER = 150
TEST = "This is a test: somebody wants to know whether notifications arrive here. Nothing is wrong."
_COLOURS = {"critical": "#c0392b", "warning": "#b9770e", "info": "#2e6da4"}
_WORDS = {AlertState.OPEN: "open", AlertState.ACKNOWLEDGED: "acknowledged", AlertState.RESOLVED: "resolved", AlertState.PENDING: "pending"}


def plain(sent: Notification, link: str) -> str:
    """The notification as plain text."""
    if sent.occasion == "test":
        return f"{sent.title}\n\n{TEST}\n\n{link}/alerts\n{_footer(sent)}\n"
    parts = [sent.title]
    for alert in _shown(sent):
        lines = [f"{_state(alert)} - {alert.title}", _short(alert.summary)]
        lines += [_short(alert.detail)] if alert.detail else []
        lines += [f"{name}: {_short(value)}" for name, value in alert.labels.items()]
        lines += [_times(alert), *([f"What to do: {full_address(alert.runbook, link)}"] if alert.runbook else []), _address(alert, link)]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *_more(sent), _footer(sent)]) + "\n"


def html(sent: Notification, link: str) -> str:
    """The notification as an HTML document without anything that is loaded from elsewhere."""
    if sent.occasion == "test":
        return _document(f"<h2>{escape(sent.title)}</h2><p>{TEST}</p><p>{_anchor(f'{link}/alerts', 'Open the console')}</p>", sent)
    parts = [f"<h2>{escape(sent.title)}</h2>"]
    for alert in _shown(sent):
        colour = "#2d7d46" if alert.state == AlertState.RESOLVED else _COLOURS[alert.severity.value]
        labels = "".join(f"<li>{escape(name)}: {escape(_short(value))}</li>" for name, value in alert.labels.items())
        runbook = f" &middot; {_anchor(full_address(alert.runbook, link), 'What to do')}" if alert.runbook else ""
        parts.append(
            f'<div style="border-left:4px solid {colour};padding:2px 12px;margin:12px 0">'
            f"<p><strong>{escape(alert.title)}</strong> ({escape(_state(alert))})<br>{escape(_short(alert.summary))}</p>"
            + (f"<p>{escape(_short(alert.detail))}</p>" if alert.detail else "")
            + (f"<ul>{labels}</ul>" if labels else "")
            + f"<p>{escape(_times(alert))}<br>{_anchor(_address(alert, link), 'Open in the console')}{runbook}</p></div>"
        )
    return _document("".join([*parts, *(f"<p>{escape(text)}</p>" for text in _more(sent))]), sent)


def slack_blocks(sent: Notification, link: str) -> list[dict[str, Any]]:
    """The notification as blocks of Slack, at most 23 of the 50 that it takes."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": " ".join(sent.title.split())[:MOST_SLACK_HEADER], "emoji": False}}
    ]
    if sent.occasion == "test":
        blocks.append(_section(TEST))
    for alert in _shown(sent):
        labels = ", ".join(f"{mrkdwn(name)} {mrkdwn(_short(value))}" for name, value in alert.labels.items())
        lines = [f"*{mrkdwn(alert.title)}* ({_state(alert)})", mrkdwn(_short(alert.summary))]
        lines += [mrkdwn(_short(alert.detail))] if alert.detail else []
        lines += [labels] if labels else []
        closing = f"{_times(alert)}  <{_address(alert, link)}|Open in the console>"
        lines += [closing + (f"  <{mrkdwn(full_address(alert.runbook, link))}|What to do>" if alert.runbook else "")]
        blocks.append(_section("\n".join(lines)[:MOST_SLACK_TEXT]))
    blocks += [_section(text) for text in _more(sent)]
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _footer(sent)}]})
    return blocks


def _shown(sent: Notification) -> Sequence[AlertOut]:
    return [AlertOut.model_validate(one) for one in sent.content[:MOST_ALERTS]]


def _more(sent: Notification) -> list[str]:
    left = len(sent.alert_ids) - min(len(sent.content), MOST_ALERTS)
    return [f"And {left} more; the console has them all."] if left > 0 else []


def _footer(sent: Notification) -> str:
    return f"TrajOps notification {sent.notification_id}"


def _state(alert: AlertOut) -> str:
    return "resolved" if alert.state == AlertState.RESOLVED else f"{alert.severity.value}, {_WORDS[alert.state]}"


def _times(alert: AlertOut) -> str:
    began = f"Since {alert.started_at:%d %b %Y %H:%M:%S} UTC"
    return began if alert.resolved_at is None else f"{began} until {alert.resolved_at:%d %b %Y %H:%M:%S} UTC"


def _address(alert: AlertOut, link: str) -> str:
    return f"{link}/alerts?alert={alert.alert_id}"


def full_address(address: str, link: str) -> str:
    """An address as it is reached from anywhere; a path is one of the console, which `link` leads to."""
    return f"{link}{address}" if address.startswith("/") else address


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def _anchor(address: str, text: str) -> str:
    return f'<a href="{escape(address, quote=True)}">{escape(text)}</a>'


def _document(body: str, sent: Notification) -> str:
    return (
        f'<!doctype html><html lang="en"><body style="font-family:sans-serif;color:#222">{body}'
        f'<p style="color:#777;font-size:smaller">{escape(_footer(sent))}</p></body></html>'
    )


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def mrkdwn(text: str) -> str:
    """What Slack asks for: the three characters that control its markup; without them nobody can mention a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
