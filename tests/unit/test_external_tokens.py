"""Tokens of an external issuer: what is believed, and what happens when its keys change or cannot be read."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from data.identity.external_tokens import ExternalTokens, external_tokens
from data.identity.jwks import REFRESH_S, RETRY_S, Jwks
from data.identity.tokens import JwtTokens
from data.stubs import MemoryDatabase, SetClock
from trajops.errors import EnvironmentProblem, Forbidden, InvalidInput, Unauthenticated, Unavailable
from trajops.services.identity import Identity
from trajops.settings import Settings

ISSUER, NOW_S = "https://issuer.example", 1_767_225_600
SECRET = "s" * 32


@pytest.fixture(scope="module")
def signing() -> dict[str, RSAPrivateKey]:
    """Private keys by id."""
    return {name: generate_private_key(65537, 2048) for name in ("k1", "k2")}


def published(keys: dict[str, RSAPrivateKey], **changes: Any) -> dict[str, Any]:
    entries = [jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": name} for name, key in keys.items()]
    return {"keys": [{**entry, **changes} for entry in entries]}


class Issuer:
    """Publishes keys, may be away, and counts how often it was asked."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.is_away = False
        self.asked = 0

    def fetch(self, url: str) -> dict[str, Any]:
        self.asked += 1
        if self.is_away:
            raise ConnectionError("refused")
        return self.document


class Seconds:
    """Monotonic seconds that stand still until they are moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def issuer(signing: dict[str, RSAPrivateKey]) -> Issuer:
    return Issuer(published({"k1": signing["k1"]}))


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW_S * 10**9)


@pytest.fixture
def tokens(issuer: Issuer, seconds: Seconds, clock: SetClock) -> ExternalTokens:
    return ExternalTokens(Jwks("url", issuer.fetch, seconds), issuer=ISSUER, audience="trajops", clock=clock)


def claims(**changes: Any) -> dict[str, Any]:
    base = {"iss": ISSUER, "aud": "trajops", "sub": "ada", "role": "operator", "iat": NOW_S, "exp": NOW_S + 600}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def token(key: RSAPrivateKey, key_id: str | None = "k1", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm="RS256", headers={"kid": key_id} if key_id else {})


def test_a_good_token_says_who_comes_in_which_role(tokens: ExternalTokens, signing: dict[str, RSAPrivateKey]) -> None:
    good = token(signing["k1"])
    assert tokens.recognises(good)
    found = tokens.verify(good)
    assert (found.subject, found.role, found.expires_at.timestamp()) == ("ada", "operator", NOW_S + 630)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": "https://elsewhere.example"}, id="other issuer"),
        pytest.param({"iss": ISSUER + "/"}, id="almost the issuer"),
        pytest.param({"iss": None}, id="no issuer"),
        pytest.param({"aud": "elsewhere"}, id="other audience"),
        pytest.param({"aud": ["a", "b"]}, id="other audiences"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"sub": None}, id="nobody"),
        pytest.param({"sub": ""}, id="empty name"),
        pytest.param({"sub": "x" * 121}, id="long name"),
        pytest.param({"sub": "a\nb"}, id="line break"),
        pytest.param({"exp": None}, id="endless"),
        pytest.param({"exp": "soon"}, id="no number"),
        pytest.param({"exp": 10**30}, id="beyond all calendars"),
        pytest.param({"exp": NOW_S - 30}, id="expired beyond the leeway"),
        pytest.param({"iat": NOW_S + 31}, id="issued in the future"),
        pytest.param({"nbf": NOW_S + 31}, id="not valid yet"),
    ],
)
def test_wrong_claims_are_refused(tokens: ExternalTokens, signing: dict[str, RSAPrivateKey], changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(token(signing["k1"], **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW_S - 29},
        {"iat": NOW_S + 30},
        {"nbf": NOW_S + 30},
        {"iat": None},
        {"exp": NOW_S + 0.5},
        {"aud": ["other", "trajops"]},
        {"sub": "x" * 120},
    ],
    ids=str,
)
def test_a_clock_that_is_a_little_off_and_other_good_claims(
    tokens: ExternalTokens, signing: dict[str, RSAPrivateKey], changes: dict[str, Any]
) -> None:
    assert tokens.verify(token(signing["k1"], **changes)).role == "operator"


@pytest.mark.parametrize(
    ("role_claim", "value", "role"),
    [
        ("role", "viewer", "viewer"),
        ("role", ["viewer", "admin", "cook"], "admin"),
        ("realm.roles", {"roles": ["operator"]}, "operator"),
        ("role", "root", None),
        ("role", [], None),
        ("role", None, None),
        ("realm.roles", "operator", None),
        ("role", {"admin": True}, None),
    ],
)
def test_the_highest_role_of_the_claim_counts(
    issuer: Issuer, clock: SetClock, signing: dict[str, RSAPrivateKey], role_claim: str, value: Any, role: str | None
) -> None:
    tokens = ExternalTokens(Jwks("url", issuer.fetch), issuer=ISSUER, audience="trajops", role_claim=role_claim, clock=clock)
    given = token(signing["k1"], **{"role": None, role_claim.split(".", maxsplit=1)[0]: value})
    if role is None:
        with pytest.raises(Forbidden, match=role_claim):
            tokens.verify(given)
    else:
        assert tokens.verify(given).role == role


def forged(header: dict[str, Any], secret: bytes | None = None) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims())]
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = b"" if secret is None else hmac.sign(".".join(parts).encode(), secret)
    return ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


def is_refused(tokens: ExternalTokens, given: str) -> bool:
    try:
        tokens.verify(given)
    except Unauthenticated:
        return True
    return False


def test_what_the_issuer_has_not_signed_is_refused(tokens: ExternalTokens, signing: dict[str, RSAPrivateKey]) -> None:
    public = signing["k1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    wrong = {
        "another key under its name": token(signing["k2"], "k1"),
        "no key named, and signed with another": token(signing["k2"], None),
        "no signature": forged({"alg": "none", "kid": "k1"}),
        "no signature, says RS256": forged({"alg": "RS256", "kid": "k1"}),
        "the public key as a password": forged({"alg": "HS256", "kid": "k1"}, public),
        "key id that is none": forged({"alg": "RS256", "kid": 5}),
        "longer signature": token(signing["k1"]) + "AA",
        "nonsense": "a.b.c",
    }
    assert [why for why, given in wrong.items() if not is_refused(tokens, given)] == []
    assert not tokens.recognises(wrong["the public key as a password"])
    assert not tokens.recognises("nonsense")


def test_a_key_is_named_where_the_issuer_has_several(
    tokens: ExternalTokens, issuer: Issuer, seconds: Seconds, signing: dict[str, RSAPrivateKey]
) -> None:
    """OpenID Connect asks for a `kid` only where there is a choice."""
    unnamed = token(signing["k1"], None)
    assert tokens.verify(unnamed).subject == "ada"
    issuer.is_away = True
    assert tokens.verify(unnamed).subject == "ada", "a known key stays good while the issuer is away"
    issuer.is_away, issuer.document = False, published(signing)
    seconds.now_s = 301.0
    with pytest.raises(Unauthenticated, match="get one with a `kid`"):
        tokens.verify(unnamed)
    assert tokens.verify(token(signing["k1"])).subject == "ada"


def test_an_issuer_that_was_never_asked_vouches_for_nobody(
    tokens: ExternalTokens, issuer: Issuer, signing: dict[str, RSAPrivateKey]
) -> None:
    issuer.is_away = True
    with pytest.raises(Unavailable):
        tokens.verify(token(signing["k1"], None))


@pytest.mark.parametrize("changes", [{"use": "enc"}, {"alg": "RS512"}, {"kid": None}, {"kty": "oct", "k": "AAAA"}], ids=str)
def test_keys_for_something_else_sign_nothing(
    issuer: Issuer, tokens: ExternalTokens, signing: dict[str, RSAPrivateKey], changes: Any
) -> None:
    issuer.document = published({"k1": signing["k1"]}, **changes)
    with pytest.raises(Unauthenticated, match="does not publish"):
        tokens.verify(token(signing["k1"]))


# Keys that change


def test_an_unknown_key_id_asks_the_issuer_again(
    issuer: Issuer, tokens: ExternalTokens, seconds: Seconds, signing: dict[str, RSAPrivateKey]
) -> None:
    tokens.verify(token(signing["k1"]))
    tokens.verify(token(signing["k1"]))
    assert issuer.asked == 1
    issuer.document = published(signing)
    seconds.now_s += RETRY_S
    assert tokens.verify(token(signing["k2"], "k2")).subject == "ada"
    assert issuer.asked == 2


def test_invented_key_ids_do_not_become_a_flood(
    issuer: Issuer, tokens: ExternalTokens, seconds: Seconds, signing: dict[str, RSAPrivateKey]
) -> None:
    for number in range(50):
        with pytest.raises(Unauthenticated):
            tokens.verify(token(signing["k2"], f"invented{number}"))
        seconds.now_s += 0.1
    assert issuer.asked == 1


def test_a_withdrawn_key_ends_at_the_next_refresh(
    issuer: Issuer, tokens: ExternalTokens, seconds: Seconds, signing: dict[str, RSAPrivateKey]
) -> None:
    tokens.verify(token(signing["k1"]))
    issuer.document = published({"k2": signing["k2"]})
    seconds.now_s += REFRESH_S
    tokens.verify(token(signing["k1"]))
    seconds.now_s += 1.0
    with pytest.raises(Unauthenticated):
        tokens.verify(token(signing["k1"]))


BROKEN = [None, {}, {"keys": 5}, {"keys": [{"kty": "RSA", "kid": "k1"}]}]


@pytest.mark.parametrize("document", BROKEN, ids=["away", "empty", "odd", "broken"])
def test_known_keys_work_while_the_issuer_is_away(
    issuer: Issuer, tokens: ExternalTokens, seconds: Seconds, signing: dict[str, RSAPrivateKey], document: Any
) -> None:
    tokens.verify(token(signing["k1"]))
    issuer.is_away, issuer.document = document is None, document
    for _ in range(3):
        seconds.now_s += REFRESH_S + 1
        assert tokens.verify(token(signing["k1"])).subject == "ada"
    with pytest.raises(Unavailable, match="issuer cannot be read"):
        tokens.verify(token(signing["k2"], "k2"))
    assert issuer.asked >= 4
    issuer.is_away, issuer.document = False, published(signing)
    seconds.now_s += RETRY_S
    assert tokens.verify(token(signing["k2"], "k2")).subject == "ada"


def test_threads_that_need_the_same_key_ask_once(issuer: Issuer, signing: dict[str, RSAPrivateKey]) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(url: str) -> dict[str, Any]:
        entered.set()
        release.wait(10)
        return issuer.fetch(url)

    keys = Jwks("url", slow)
    threads = [threading.Thread(target=keys.key, args=("k1",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
    assert issuer.asked == 1


# With our own tokens beside them


def test_both_kinds_of_tokens_are_told_apart(tokens: ExternalTokens, signing: dict[str, RSAPrivateKey], clock: SetClock) -> None:
    own = JwtTokens(SECRET, clock)
    identity = Identity(MemoryDatabase().unit_of_work, None, own, external=tokens, clock=clock)  # type: ignore[arg-type]
    client = identity.authenticate(token(signing["k1"], role="viewer"))
    assert (client.client_id, client.role, client.is_external) == ("jwt:ada", "viewer", True)
    assert identity.confirm(client) == client, "our database need not know who somebody else vouches for"
    mine = own.issue("ada", "admin", issued_at=client.expires_at, expires_at=client.expires_at) if client.expires_at else ""
    with pytest.raises(Unauthenticated, match="issued in the future"):
        identity.authenticate(mine)
    with pytest.raises(InvalidInput, match="jwt:"):
        identity.create_user("jwt:ada", "correct horse", "admin", actor="test", reason="because of the test")


def test_without_an_issuer_its_tokens_are_nothing(signing: dict[str, RSAPrivateKey], clock: SetClock) -> None:
    identity = Identity(MemoryDatabase().unit_of_work, None, JwtTokens(SECRET, clock), clock=clock)  # type: ignore[arg-type]
    with pytest.raises(Unauthenticated):
        identity.authenticate(token(signing["k1"]))


def test_the_settings_name_the_issuer(tmp_path: Path) -> None:
    assert external_tokens(Settings(var_dir=tmp_path)) is None
    with pytest.raises(EnvironmentProblem, match="TRAJOPS_ISSUER_JWKS_URL"):
        external_tokens(Settings(var_dir=tmp_path, issuer=ISSUER))


@pytest.fixture
def served(issuer: Issuer) -> Iterator[str]:
    """The issuer on a real socket; away: it answers 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(issuer.document).encode()
            self.send_response(503 if issuer.is_away else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    server.server_close()
    thread.join()


def test_keys_are_read_over_http(served: str, issuer: Issuer, signing: dict[str, RSAPrivateKey], tmp_path: Path) -> None:
    import time

    tokens = external_tokens(Settings(var_dir=tmp_path, issuer=ISSUER, issuer_jwks_url=served))
    assert tokens is not None
    now_s = int(time.time())
    assert tokens.verify(token(signing["k1"], iat=now_s, exp=now_s + 60)).subject == "ada"
    issuer.is_away = True
    with pytest.raises(Unavailable, match="503"):
        Jwks(served).key("k1")
