"""Both clients against a server that fails in every way a server can: what is tried again, what never, and how long it may take."""

import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.both_clients import KINDS, Kind, a_client
from tests.client_calls import CHANGE, PREDICTION, REASON
from tests.faulty_server import (
    FaultyServer,
    Step,
    answer,
    drop,
    faulty_server,
    hang,
    headers_of,
    problem,
    reset,
    stop_in_a_chunk,
    stop_in_the_middle,
    trickle,
)
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.contracts.keys import KeyIn
from trajops.contracts.predictions import PredictIn

ALIVE = answer(200, {"status": "alive"})
PREDICTED = answer(200, PREDICTION)
CHANGED = answer(200, CHANGE)
BODY = PredictIn(agent_id="a")
LOST: dict[str, Step] = {"drop": drop, "reset": reset, "in-the-middle": stop_in_the_middle, "in-a-chunk": stop_in_a_chunk}
REFUSED: dict[str, Step] = {
    "overloaded": problem(503, "overloaded", Retry_After="0"),
    "rate-limited": problem(429, "rate_limited", Retry_After="0"),
}
BRIEFLY_AWAY: dict[str, Step] = {
    **LOST,
    **REFUSED,
    "bad-gateway": answer(502, "<h1>Bad gateway</h1>"),
    "unavailable": answer(503),
    "gateway-timeout": answer(504),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@contextmanager
def meeting(kind: Kind, *script: Step, **options: Any) -> Iterator[tuple[TrajOpsClient, FaultyServer]]:
    """A client and the server that it calls."""
    with faulty_server(*script) as server, a_client(kind, server.url, "secret", **options) as client:
        yield client, server


@pytest.mark.parametrize("fault", BRIEFLY_AWAY)
def test_a_read_is_tried_until_it_is_answered(kind: Kind, fault: str) -> None:
    with meeting(kind, BRIEFLY_AWAY[fault], BRIEFLY_AWAY[fault], ALIVE) as (client, server):
        assert client.health().status == "alive"
        assert len(server.received) == 3
        assert len(set(headers_of(server.received, "x-request-id"))) == 1, "one call has one id"
        assert headers_of(server.received, "authorization") == ["Bearer secret"] * 3


@pytest.mark.parametrize("fault", BRIEFLY_AWAY)
def test_a_change_is_tried_with_the_key_that_it_had(kind: Kind, fault: str) -> None:
    with meeting(kind, BRIEFLY_AWAY[fault], CHANGED) as (client, server):
        assert client.promote("d1", 3, REASON).audit_id == "aud-1"
        assert client.promote("d1", 3, REASON, idempotency_key="mine").audit_id == "aud-1"
        first, again, other = headers_of(server.received, "idempotency-key")
        assert first == again
        assert first is not None
        assert len(first) == 32
        assert other == "mine"


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
def test_what_will_not_change_is_not_asked_again(kind: Kind, status: int) -> None:
    with meeting(kind, problem(status, "some_code")) as (client, server):
        for call in (client.health, lambda: client.promote("d1", 3, REASON), lambda: client.predict(BODY)):
            with pytest.raises(ApiProblem, match="some_code"):
                call()
        assert len(server.received) == 3


def test_a_batch_over_the_limit_is_never_within_it_later(kind: Kind) -> None:
    with meeting(kind, problem(429, "batch_over_limit", Retry_After="0")) as (client, server):
        with pytest.raises(ApiProblem, match="batch_over_limit"):
            client.batch_predict([BODY])
        assert len(server.received) == 1


@pytest.mark.parametrize("fault", [fault for fault in BRIEFLY_AWAY if fault not in REFUSED])
def test_a_prediction_that_may_have_been_made_is_not_repeated(kind: Kind, fault: str) -> None:
    with meeting(kind, BRIEFLY_AWAY[fault], PREDICTED) as (client, server):
        with pytest.raises((ApiUnavailable, ApiProblem)) as caught:
            client.predict(BODY)
        assert len(server.received) == 1
        if isinstance(caught.value, ApiUnavailable):
            assert not caught.value.is_unsent


@pytest.mark.parametrize("fault", [fault for fault in BRIEFLY_AWAY if fault not in REFUSED])
def test_it_is_repeated_for_whoever_says_so(kind: Kind, fault: str) -> None:
    with meeting(kind, BRIEFLY_AWAY[fault], PREDICTED, retry_predictions="lost") as (client, server):
        assert client.predict(BODY).prediction_id == "p1"
        assert len(server.received) == 2


@pytest.mark.parametrize("fault", REFUSED)
def test_a_prediction_that_was_refused_is_repeated(kind: Kind, fault: str) -> None:
    with meeting(kind, REFUSED[fault], PREDICTED) as (client, server):
        assert client.predict(BODY).prediction_id == "p1"
        assert len(server.received) == 2
    with meeting(kind, REFUSED[fault], PREDICTED, retry_predictions="never") as (client, server):
        with pytest.raises(ApiProblem):
            client.predict(BODY)
        assert len(server.received) == 1


@pytest.mark.parametrize("fault", BRIEFLY_AWAY)
def test_a_secret_is_asked_for_once(kind: Kind, fault: str) -> None:
    with meeting(kind, BRIEFLY_AWAY[fault]) as (client, server):
        with pytest.raises((ApiUnavailable, ApiProblem)):
            client.create_key(KeyIn(name="k", reason=REASON))
        assert len(server.received) == 1


def test_what_was_never_sent_is_tried_until_somebody_listens(kind: Kind) -> None:
    with (
        faulty_server(PREDICTED, is_listening=False) as server,
        a_client(kind, server.url, attempts=100, longest_wait_s=0.1) as client,
    ):
        timer = threading.Timer(0.2, server.listen)
        timer.start()
        assert client.predict(BODY).prediction_id == "p1"
        timer.join()
        assert len(server.received) == 1


def test_who_does_not_listen_is_named_with_the_cause(kind: Kind) -> None:
    with faulty_server(ALIVE, is_listening=False) as server, a_client(kind, server.url, attempts=2) as client:
        with pytest.raises(ApiUnavailable, match=rf"{server.url} does not answer \(connection refused, tried 2 times\)") as caught:
            client.health()
        assert caught.value.is_unsent
        assert caught.value.tries == 2
        assert caught.value.__cause__ is caught.value.cause is not None


def test_retry_after_is_waited_for(kind: Kind) -> None:
    with meeting(kind, problem(503, "overloaded", Retry_After="1"), ALIVE) as (client, _):
        started_s = time.monotonic()
        assert client.health().status == "alive"
        assert time.monotonic() - started_s >= 1.0


@pytest.mark.parametrize("options", [{"longest_wait_s": 59.0}, {"deadline_s": 60.0, "longest_wait_s": 100.0}], ids=["patience", "deadline"])
def test_a_retry_after_beyond_patience_or_deadline_is_told_at_once(kind: Kind, options: dict[str, float]) -> None:
    with meeting(kind, problem(429, "rate_limited", Retry_After="60"), ALIVE, **options) as (client, server):
        started_s = time.monotonic()
        with pytest.raises(ApiProblem) as caught:
            client.me()
        assert time.monotonic() - started_s < 10
        assert caught.value.retry_after_s == 60
        assert len(server.received) == 1


@pytest.mark.parametrize("fault", [hang, trickle], ids=["hangs", "trickles"])
def test_the_deadline_bounds_all_tries_together(kind: Kind, fault: Step) -> None:
    with meeting(kind, fault, read_s=0.2, deadline_s=0.5, attempts=50) as (client, server):
        started_s = time.monotonic()
        with pytest.raises(ApiUnavailable, match="timed out"):
            client.health()
        assert 0.3 < time.monotonic() - started_s < 3
        assert 1 <= len(server.received) <= 4


def test_one_call_may_have_a_deadline_of_its_own(kind: Kind) -> None:
    with meeting(kind, hang) as (client, server):
        started_s = time.monotonic()
        with pytest.raises(ApiUnavailable, match="timed out"):
            client.within(0.2).health()
        assert time.monotonic() - started_s < 5
        assert len(server.received) == 1


def test_errors_name_the_request(kind: Kind) -> None:
    with meeting(kind, problem(404, "not_found")) as (client, server):
        with pytest.raises(ApiProblem) as caught:
            client.prediction("p1")
        (sent,) = headers_of(server.received, "x-request-id")
        assert caught.value.request_id == sent
        assert f"request {sent}" in str(caught.value)


def test_connections_are_kept_and_closed_as_the_server_says(kind: Kind) -> None:
    with meeting(kind, ALIVE, ALIVE, answer(200, {"status": "alive"}, Connection="close"), ALIVE) as (client, server):
        for _ in range(5):
            client.health()
        assert [request.connection for request in server.received] == [1, 1, 1, 2, 2]


def test_threads_and_tasks_share_a_client(kind: Kind) -> None:
    threads, calls, failures = 8, 25, []
    with meeting(kind, ALIVE, connections=4) as (client, server):

        def work() -> None:
            try:
                for _ in range(calls):
                    assert client.health().status == "alive"
            except Exception as error:  # noqa: BLE001 - told below
                failures.append(error)

        started = [threading.Thread(target=work) for _ in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
        assert failures == []
        assert len(server.received) == threads * calls
        assert len(set(headers_of(server.received, "x-request-id"))) == threads * calls
        if kind == "async":
            assert server.connections <= 4


def test_tasks_wait_for_a_connection_no_longer_than_their_deadline() -> None:
    with meeting("async", hang, connections=1, read_s=20) as (client, server):

        def hold() -> None:
            with suppress(ApiUnavailable):
                client.within(6.0).health()

        holder = threading.Thread(target=hold)
        holder.start()
        while not server.received:
            time.sleep(0.005)
        with pytest.raises(ApiUnavailable, match="waiting for one of its connections") as caught:
            client.within(2.0).health()
        assert caught.value.is_unsent
        holder.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def test_an_api_is_trusted_by_its_own_certificates_only(kind: Kind, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with faulty_server(ALIVE, tls=context) as server:
        with a_client(kind, server.url, "secret", ca_file=certificate) as client:
            assert client.health().status == "alive"
        with (
            a_client(kind, server.url, "secret", attempts=1) as client,
            pytest.raises(ApiUnavailable, match="no trusted connection") as caught,
        ):
            client.predict(BODY)
        assert caught.value.is_unsent
        assert len(server.received) == 1, "nothing was told to who is not trusted"
