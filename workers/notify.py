"""How a notification reaches a receiver: mail over TLS, Slack's webhooks, Alertmanager. Each sends once, and says why it could not."""

import logging
import os
import re
import smtplib
import ssl
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parsedate_to_datetime
from http.client import HTTPException, InvalidURL
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from slack_sdk.webhook import WebhookClient, WebhookResponse

from data.alertmanager import Alertmanager, posted
from trajops.alerts.lifecycle import AlertState
from trajops.alerts.outbox import Notification
from trajops.alerts.rules import AlertmanagerReceiver, AlertRules, EmailReceiver, SlackReceiver
from trajops.contracts.alerts import AlertOut
from trajops.errors import InvalidInput, Unavailable
from trajops.services.alerts import OURS
from workers.messages import MOST_SUBJECT, full_address, html, mrkdwn, plain, slack_blocks

# How many times `repost_s` an Alertmanager waits for a post before it takes an alert to be over.
REPOSTS = 5
MOST_ERROR = 500
# More of an answer is not read.
MOST_ANSWER = 10_000

# slack_sdk logs addresses, and the address of a webhook is its secret.
_UNHEARD = logging.Logger("slack_sdk.unheard", logging.CRITICAL + 1)  # noqa: LOG001 - in no tree, so that nothing reaches a handler


class Undelivered(Exception):
    """A receiver did not take a notification.

    Args:
        message: why, without secrets.
        is_permanent: whether trying again cannot help.
        retry_after_s: when the receiver asks to be tried again, seconds.
    """

    def __init__(self, message: str, *, is_permanent: bool = False, retry_after_s: float | None = None) -> None:
        self.message = printable(message)
        super().__init__(self.message)
        self.is_permanent = is_permanent
        self.retry_after_s = retry_after_s


class _Webhook(WebhookClient):
    """A webhook of Slack as Slack answers it: a redirect is an answer like any other, not a way to go."""

    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        try:
            answer = build_opener(_NoRedirect).open(req, timeout=self.timeout)
        except HTTPError as error:
            answer = error
        with answer:
            body = answer.read(MOST_ANSWER).decode("utf-8", "replace")
            return WebhookResponse(url=url, status_code=answer.status, body=body, headers=dict(answer.headers.items()))


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Go nowhere."""


class Senders:
    """Sends notifications to the receivers of `configs/alerts.yaml`. Safe to use from several threads.

    Args:
        rules: with the receivers, and how long they may take.
        console_link: address of the console.
        alertmanager_url: of receivers that name none.
        environment: where secrets are; by default that of the process.
    """

    def __init__(
        self, rules: AlertRules, console_link: str, alertmanager_url: str | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._rules = rules
        self._timeout_s = rules.delivery.timeout_s
        self._link = console_link
        self._alertmanager_url = alertmanager_url
        self._environment = environment

    def send(self, sent: Notification, at: datetime) -> str | None:
        """Send once.

        Args:
            sent: what.
            at: now.

        Returns:
            None; or what must be known about a delivery that was not complete.

        Raises:
            Undelivered: if the receiver did not take it.
        """
        receiver = self._rules.receiver(sent.receiver)
        if receiver is None:
            raise Undelivered(f"configs/alerts.yaml names no receiver {sent.receiver!r} any more", is_permanent=True)
        if isinstance(receiver, EmailReceiver):
            return self._mail(receiver, sent)
        if isinstance(receiver, SlackReceiver):
            self._slack(receiver, sent, at)
        else:
            self._post(receiver, sent, at)
        return None

    def unset(self) -> list[str]:
        """Environment variables that receivers name and that are not set here."""
        named = {getattr(one, "password_env", None) or getattr(one, "url_env", None) for one in self._rules.receivers} - {None}
        return sorted(str(name) for name in named if not self._environment.get(str(name)))

    def _mail(self, receiver: EmailReceiver, sent: Notification) -> str | None:
        message = EmailMessage(policy=SMTP)
        message["From"] = receiver.sender
        message["To"] = ", ".join(receiver.to)
        message["Subject"] = one_line(sent.title)[:MOST_SUBJECT]
        message["Date"] = format_datetime(sent.created_at)
        # The same in every attempt: mail programs show one that arrives twice once.
        message["Message-ID"] = f"<{sent.notification_id}@{receiver.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-TrajOps-Notification"] = sent.notification_id
        message.set_content(plain(sent, self._link))
        message.add_alternative(html(sent, self._link), subtype="html")
        password = None if receiver.password_env is None else self._secret(receiver.password_env)
        with _mail_faults(), self._connected(receiver) as server:
            if receiver.username is not None and password is not None:
                server.login(receiver.username, password)
            refused = server.send_message(message)
        return None if not refused else f"not taken for {', '.join(sorted(refused))}"

    @contextmanager
    def _connected(self, receiver: EmailReceiver) -> Iterator[smtplib.SMTP]:
        try:
            trust = ssl.create_default_context(cafile=receiver.ca_file)
        except OSError as error:
            raise Undelivered(f"the certificates {receiver.ca_file} cannot be read ({error.strerror})", is_permanent=True) from error
        if receiver.tls == "implicit":
            server: smtplib.SMTP = smtplib.SMTP_SSL(receiver.host, receiver.port, timeout=self._timeout_s, context=trust)
        else:
            server = smtplib.SMTP(receiver.host, receiver.port, timeout=self._timeout_s)
        try:
            if receiver.tls == "starttls":
                server.starttls(context=trust)
            yield server
        except BaseException:
            server.close()
            raise
        try:
            server.quit()
        except (smtplib.SMTPException, OSError):
            server.close()  # it has taken the message; how it takes leave does not matter

    def _slack(self, receiver: SlackReceiver, sent: Notification, at: datetime) -> None:
        url = self._secret(receiver.url_env)
        if not _is_address(url):
            raise Undelivered(f"the environment variable {receiver.url_env} holds no address of http or https", is_permanent=True)
        # Without retries of its own: what is tried again is decided in one place.
        client = _Webhook(url, timeout=max(1, round(self._timeout_s)), retry_handlers=[], logger=_UNHEARD)
        try:
            answer = client.send(text=mrkdwn(one_line(sent.title)), blocks=slack_blocks(sent, self._link), unfurl_links=False)
        except (InvalidURL, ValueError):  # says the address, which is the secret, and would say it in the chain too
            raise Undelivered(f"nothing can be sent to the address in {receiver.url_env}; correct it", is_permanent=True) from None
        except (OSError, HTTPException) as error:
            raise Undelivered(f"Slack does not answer ({_cause(error)})") from error
        if answer.status_code == 200 and answer.body.strip() == "ok":
            return
        said = f"Slack answered {answer.status_code}: {answer.body[:200]}"
        is_permanent = 300 <= answer.status_code < 500 and answer.status_code != 429
        raise Undelivered(said, is_permanent=is_permanent, retry_after_s=_pause_s(answer.headers.get("Retry-After"), at))

    def _post(self, receiver: AlertmanagerReceiver, sent: Notification, at: datetime) -> None:
        url = receiver.url or self._alertmanager_url
        if url is None:
            raise Undelivered("neither the receiver has a url nor is TRAJOPS_ALERTMANAGER_URL set", is_permanent=True)
        alerts = [AlertOut.model_validate(one) for one in sent.content]
        body = [_forwarded(alert, at, self._link, REPOSTS * receiver.repost_s) for alert in alerts] or [_test(sent, at, self._link)]
        try:
            Alertmanager(url, self._timeout_s).post(body)
        except InvalidInput as error:
            raise Undelivered(error.message, is_permanent=True) from error
        except Unavailable as error:
            raise Undelivered(error.message) from error

    def _secret(self, name: str) -> str:
        value = self._environment.get(name, "")
        if not value:
            raise Undelivered(f"the environment variable {name} is not set where the workers run", is_permanent=True)
        return value


@contextmanager
def _mail_faults() -> Iterator[None]:
    """What may go wrong with mail: an answer 5xx is final, all else may pass."""
    try:
        yield
    except UnicodeError as error:
        raise Undelivered("name, password or an address has letters that the mail protocol cannot carry", is_permanent=True) from error
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _text in error.recipients.values()]
        said = "; ".join(f"{name}: {code} {_text(text)}" for name, (code, text) in sorted(error.recipients.items()))
        raise Undelivered(f"the mail server takes mail for nobody: {said}", is_permanent=all(code >= 500 for code in codes)) from error
    except smtplib.SMTPResponseException as error:
        said = f"the mail server answered {error.smtp_code}: {_text(error.smtp_error)}"
        raise Undelivered(said, is_permanent=500 <= error.smtp_code < 600) from error
    except smtplib.SMTPNotSupportedError as error:
        raise Undelivered(f"the mail server cannot do what is asked of it: {error}", is_permanent=True) from error
    except (smtplib.SMTPException, OSError) as error:
        raise Undelivered(f"the mail server cannot be reached, or breaks off ({_cause(error)})") from error


def _is_address(url: str) -> bool:
    if re.fullmatch(r"[!-~]+", url) is None:  # a blank, such as before a comment, and letters that no address has
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def printable(text: str) -> str:
    """An error as it can be stored: without control characters (PostgreSQL takes no NUL) and halves of characters, and not too long."""
    return "".join(" " if unicodedata.category(one) in {"Cc", "Cs"} else one for one in text)[:MOST_ERROR]


def one_line(text: str) -> str:
    """Without what would begin another line, which a header field must not have."""
    return " ".join(text.split())


def _forwarded(alert: AlertOut, at: datetime, link: str, life_s: float) -> dict[str, Any]:
    ends_at = alert.resolved_at if alert.state == AlertState.RESOLVED and alert.resolved_at is not None else at + timedelta(seconds=life_s)
    notes = {"summary": alert.summary, "description": alert.detail, "state": alert.state.value}
    return posted(
        {**alert.labels, "alertname": alert.rule, "severity": alert.severity.value, OURS: alert.alert_id},
        notes | ({"runbook_url": full_address(alert.runbook, link)} if alert.runbook else {}),
        starts_at=alert.started_at,
        ends_at=ends_at,
        link=f"{link}/alerts?alert={alert.alert_id}",
    )


def _test(sent: Notification, at: datetime, link: str) -> dict[str, Any]:
    labels = {"alertname": "trajops_test", "severity": "info", OURS: sent.notification_id}
    return posted(labels, {"summary": sent.title}, starts_at=sent.created_at, ends_at=at + timedelta(seconds=60), link=f"{link}/alerts")


def _text(said: bytes | str) -> str:
    return one_line(said.decode("utf-8", "replace") if isinstance(said, bytes) else said)


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return one_line(str(reason)) or type(error).__name__


def _pause_s(text: str | None, at: datetime) -> float | None:
    """What a Retry-After asks for: seconds, or a time (RFC 9110, 10.2.3); None for anything else."""
    if text is None:
        return None
    try:
        pause_s = float(text) if text.strip().isdigit() else (parsedate_to_datetime(text).astimezone(UTC) - at).total_seconds()
    except (ValueError, OverflowError):
        return None
    return max(0.0, pause_s)


Send = Callable[[Notification, datetime], str | None]
