"""The console as a real process: session routes, cookie, redirects, security headers, report proxy, log lines."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from console_process import ROOT, running_console
from console_stub import StubApi, StubServer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from trajops.contracts.scenes import SceneBounds, SceneImage

HTML = {"Accept": "text/html"}
GOOD = {"username": "ada", "password": "correct horse", "next": "/models?range=6h"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stub() -> Iterator[StubServer]:
    with StubServer(StubApi()) as running:
        yield running


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("console") / "console.log"


@pytest.fixture(scope="module")
def console(stub: StubServer, log_file: Path) -> Iterator[str]:
    with running_console(stub.url, log_file) as url:
        yield url


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers.update(HTML)
        yield session


@pytest.fixture
def signed_in(console: str, browser: requests.Session) -> requests.Session:
    answer = browser.post(f"{console}/session/sign-in", data=GOOD, allow_redirects=False)
    assert answer.status_code == 303
    return browser


@pytest.mark.parametrize("path", ["/", "/models", "/live_predict", "/drift"])
def test_page_load_without_session_leads_to_the_form_and_keeps_the_way(console: str, browser: requests.Session, path: str) -> None:
    answer = browser.get(f"{console}{path}?range=6h", allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/session/sign-in?next=" + requests.utils.quote(f"{path}?range=6h", safe="")


def test_form_can_be_filled_by_name(console: str, browser: requests.Session) -> None:
    page = browser.get(f"{console}/models").text
    assert 'name="username"' in page
    assert 'name="password"' in page
    assert 'value="/models"' in page


def test_sign_in_sets_a_cookie_that_scripts_cannot_read_and_goes_on(console: str, browser: requests.Session) -> None:
    answer = browser.post(f"{console}/session/sign-in", data=GOOD, allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/models?range=6h"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("trajops_session=token-ada;")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    max_age = int(cookie.split("Max-Age=")[1].split(";")[0])
    assert 8 * 3600 - 30 < max_age <= 8 * 3600, "the cookie lives as long as the token"
    assert browser.get(f"{console}/models", allow_redirects=False).status_code == 200


def test_wrong_password_keeps_the_name_and_sets_no_cookie(console: str, browser: requests.Session) -> None:
    answer = browser.post(f"{console}/session/sign-in", data={**GOOD, "password": "wrong"}, allow_redirects=False)
    assert answer.status_code == 401
    assert "Name or password is wrong." in answer.text
    assert 'value="ada"' in answer.text
    assert "wrong" not in answer.text.replace("is wrong", "")
    assert "Set-Cookie" not in answer.headers


def test_name_is_escaped_in_the_form(console: str, browser: requests.Session) -> None:
    answer = browser.post(f"{console}/session/sign-in", data={"username": '"><script>alert(1)</script>', "password": "x"})
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "/session/sign-out", "javascript:alert(1)"]
)
def test_sign_in_never_leads_elsewhere(console: str, browser: requests.Session, elsewhere: str) -> None:
    answer = browser.post(f"{console}/session/sign-in", data={**GOOD, "next": elsewhere}, allow_redirects=False)
    assert answer.headers["Location"] == "/"


def test_form_from_another_site_is_refused(console: str, browser: requests.Session) -> None:
    answer = browser.post(f"{console}/session/sign-in", data=GOOD, headers={"Origin": "https://evil.example"}, allow_redirects=False)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_sign_out_forgets_the_cookie(console: str, signed_in: requests.Session) -> None:
    answer = signed_in.get(f"{console}/session/sign-out", allow_redirects=False)
    assert answer.headers["Location"] == "/session/sign-in"
    assert "trajops_session" not in signed_in.cookies
    assert signed_in.get(f"{console}/", allow_redirects=False).status_code == 303


@pytest.mark.parametrize("path", ["/", "/session/sign-in", "/readyz", "/_stcore/health", "/app/static/fonts/Inter.woff2"])
def test_security_headers_are_on_every_answer(console: str, signed_in: requests.Session, path: str) -> None:
    headers = signed_in.get(f"{console}{path}", allow_redirects=False).headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("font", ["Inter", "JetBrainsMono"])
def test_fonts_come_from_this_server(console: str, font: str) -> None:
    answer = requests.get(f"{console}/app/static/fonts/{font}.woff2", timeout=5)
    assert answer.content[:4] == b"wOF2"


def test_socket_from_another_site_is_refused_and_from_here_accepted(console: str) -> None:
    socket_url = console.replace("http", "ws") + "/_stcore/stream"
    with connect(socket_url, origin=console) as opened:  # type: ignore[arg-type]
        assert opened.response is not None
        assert opened.response.status_code == 101
    with pytest.raises(InvalidStatus) as refused:
        connect(socket_url, origin="https://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403


def test_report_is_read_with_the_session_and_sandboxed(console: str, signed_in: requests.Session, stub: StubServer) -> None:
    answer = signed_in.get(f"{console}/session/drift-reports/check-20")
    assert "<h1>Report</h1>" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in answer.headers["Content-Security-Policy"]
    _, path, headers, _ = stub.api.calls[-1]
    assert path == "/v1/drift/check-20/report"
    assert headers["authorization"] == "Bearer token-ada"


def test_report_needs_a_session(console: str, browser: requests.Session, stub: StubServer) -> None:
    before = len(stub.api.calls)
    answer = browser.get(f"{console}/session/drift-reports/check-20", allow_redirects=False)
    assert answer.headers["Location"] == "/session/sign-in?next=%2Fsession%2Fdrift-reports%2Fcheck-20"
    assert len(stub.api.calls) == before
    back = browser.post(f"{console}/session/sign-in", data={**GOOD, "next": "/session/drift-reports/check-20"}, allow_redirects=False)
    assert back.headers["Location"] == "/session/drift-reports/check-20"


def test_a_background_image_is_read_with_the_session(console: str, signed_in: requests.Session, stub: StubServer) -> None:
    bounds = SceneBounds(x_min_m=0.0, y_min_m=0.0, x_max_m=1.0, y_max_m=1.0)
    stub.api.scenes.image = (SceneImage(bounds=bounds, width_px=1, height_px=1, version="v"), b"RIFF image")
    answer = signed_in.get(f"{console}/session/scene-images/quay%203%2Fnorth?version=v")
    assert (answer.content, answer.headers["Content-Type"]) == (b"RIFF image", "image/webp")
    assert answer.headers["Cache-Control"] == "private, max-age=86400, immutable"
    _, path, headers, _ = stub.api.calls[-1]
    assert path == "/v1/scenes/quay%203%2Fnorth/background/image"
    assert headers["authorization"] == "Bearer token-ada"
    stub.api.scenes.image = None
    assert signed_in.get(f"{console}/session/scene-images/plaza").status_code == 404


def test_a_background_image_needs_a_session(console: str, browser: requests.Session, stub: StubServer) -> None:
    before = len(stub.api.calls)
    assert browser.get(f"{console}/session/scene-images/plaza").status_code == 401
    assert len(stub.api.calls) == before


def test_the_runbook_is_read_without_a_session_and_without_the_api(console: str, browser: requests.Session, stub: StubServer) -> None:
    before = len(stub.api.calls)
    answer = browser.get(f"{console}/runbook", allow_redirects=False)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert '<h3 id="trajopsapidown">' in answer.text
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert len(stub.api.calls) == before


def test_every_log_line_is_json_with_the_service(console: str, signed_in: requests.Session, log_file: Path) -> None:
    lines = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert lines
    assert {line["service.name"] for line in lines} == {"console"}
    assert any(line["message"] == "signed in" and line["trajops"]["username"] == "ada" for line in lines)
    assert "correct horse" not in log_file.read_text()
    assert "token-ada" not in log_file.read_text()


def test_port_in_use_is_one_clear_sentence(console: str) -> None:
    port = console.rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "console"],
        cwd=ROOT,
        env={**os.environ, "TRAJOPS_CONSOLE_PORT": port, "TRAJOPS_HOST": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "TRAJOPS_CONSOLE_PORT" in done.stderr
    assert "Traceback" not in done.stderr
