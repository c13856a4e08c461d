"""The client against a real socket: whatever goes wrong is named as what it is, and no wait is silent."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from small import ROOT
from wandb_lab import same
from wandb_server import HANG, Server

from lightning_module.support.errors import ConfigError
from lightning_module.tracking.wandb_account import account
from reports.sources import _wandb_client, records, wandb_api

PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please do</body></html>"


def failure() -> str:
    with pytest.raises(ConfigError) as caught:
        wandb_api.load("lab/p", None)
    return str(caught.value)


def test_a_redirect_is_named_with_where_it_leads(synced: Server) -> None:
    synced.requests.clear()
    synced.fail(302, headers={"Location": "https://sso.example.org/login"})
    assert failure().startswith(
        f"{synced.url} redirects to https://sso.example.org/login (HTTP 302); "
        "if that is the server, set WANDB_BASE_URL to it"
    )
    assert synced.requests == ["Runs"]


def test_a_web_page_in_place_of_an_answer_is_named(synced: Server) -> None:
    synced.fail(200, body=PAGE)
    assert f"{synced.url} is no W&B server: it answers with a web page titled 'Sign in'" in failure()


@pytest.mark.parametrize("body", ["[1]", "5", '{"data": 5}', '{"data": {"project": [1]}}', "{}"])
def test_json_of_another_kind_is_named(synced: Server, body: str) -> None:
    synced.fail(200, body=body)
    assert f"{synced.url} does not answer as a W&B server does" in failure()


def test_http_500_is_named_after_all_attempts(synced: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wandb_client, "PAUSE", 0.01)
    synced.requests.clear()
    synced.fail(500, times=5, body=PAGE)
    assert f"{synced.url} does not answer (HTTP 500: a web page titled 'Sign in')" in failure()
    assert synced.requests == ["Runs"] * 5


def test_a_status_that_will_not_pass_is_said_at_once(synced: Server) -> None:
    synced.requests.clear()
    synced.fail(422)
    assert "refuses the query for wandb:lab/p: HTTP 422: status 422" in failure()
    assert synced.requests == ["Runs"]


def test_a_pause_that_the_server_asks_for_is_kept_and_said(
    synced: Server, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    synced.fail(429, headers={"Retry-After": "3"})
    start = time.monotonic()
    frames = wandb_api.load("lab/p", None)
    assert 3 <= time.monotonic() - start < 6
    assert f"{synced.url} does not answer (HTTP 429: status 429); trying again in 3 s" in caplog.text
    same(frames, records.load(str(runs), None))


def test_a_pause_that_is_longer_than_one_would_wait_is_not_waited_for(
    synced: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wandb_client, "TIMEOUT", 30.0)
    later = datetime.now(UTC) + timedelta(seconds=60)
    for asked in ("60", format_datetime(later, usegmt=True)):
        synced.fail(429, headers={"Retry-After": asked})
        start = time.monotonic()
        assert "(HTTP 429: status 429, and asks to be left alone for 60 s)" in failure().replace(
            "59 s", "60 s"
        )
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("asked", ["", "soon", "-5", "1e9", "Sat, 99 Foo", "0"])
def test_a_pause_that_is_none_is_passed_over(synced: Server, asked: str) -> None:
    synced.fail(503, headers={"Retry-After": asked})
    assert len(wandb_api.load("lab/p", None).runs) == 7


def test_a_server_that_hangs_costs_what_is_said(
    synced: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_wandb_client, "ANSWER", 3.0)
    monkeypatch.setattr(_wandb_client, "TIMEOUT", 7.0)
    synced.fail(HANG, times=9)
    start = time.monotonic()
    assert f"{synced.url} does not answer (no answer within" in failure()
    assert time.monotonic() - start < 10
    assert f"{synced.url} has not answered yet; waiting for at most 1 s" in caplog.text


class Trickle(BaseHTTPRequestHandler):
    """An answer that never ends, with never a long pause in it."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with suppress(OSError):
            for _ in range(60):
                self.wfile.write(b" ")
                time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_an_answer_that_trickles_is_no_longer_waited_for_than_none(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wandb_client, "ANSWER", 1.0)
    monkeypatch.setattr(_wandb_client, "RETRIES", 0)
    with HTTPServer(("127.0.0.1", 0), Trickle) as slow:
        Thread(target=slow.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{slow.server_port}")
        begun = time.monotonic()
        assert "does not answer (no answer within 1 s)" in failure()
        assert time.monotonic() - begun < 4
        slow.shutdown()


def test_a_server_that_is_only_slow_is_waited_for(synced: Server, caplog: pytest.LogCaptureFixture) -> None:
    synced.latency = 2.5
    assert len(wandb_api.load("lab/p", None).runs) == 7
    assert caplog.text.count("has not answered yet; waiting for at most 58 s") == 1


def test_a_port_where_nobody_listens_is_named(synced: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wandb_client, "RETRIES", 0)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 does not answer (" in (text := failure())
    assert "refused" in text
    assert "object at" not in text
    monkeypatch.setenv("WANDB_BASE_URL", "http://nowhere.invalid")
    assert "http://nowhere.invalid does not answer (" in (text := failure())
    assert "resolve" in text.lower() or "name" in text.lower()


def test_a_certificate_that_nobody_vouches_for_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=localhost"
    made = subprocess.run(make.split(), cwd=tmp_path, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("openssl makes no certificate here")
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        Thread(target=secure.serve_forever, args=(0.01,), daemon=True).start()
        address = f"https://127.0.0.1:{secure.server_address[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        text = failure()
        monkeypatch.setenv("WANDB_INSECURE_DISABLE_SSL", "true")
        other = failure()
        secure.shutdown()
    assert text.startswith(f"{address} cannot be reached over TLS (")
    assert "certificate verify failed" in text
    assert "REQUESTS_CA_BUNDLE" in text
    assert "TLS" not in other
    assert "HTTP 501" in other, "that server knows no POST"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "wandb.example.org",
            "WANDB_BASE_URL=wandb.example.org is no address .*; write https://wandb.example.org",
        ),
        ("localhost:8080", "no address of the form https://HOST; write https://localhost:8080"),
        ("ftp://wandb.example.org", "is no address of the form https://HOST$"),
        ("https://", "is no address of the form https://HOST$"),
        ("http://host:port", "is no address of the form https://HOST$"),
        ("https://wandb.ai", "is where people look at runs; programs ask https://api.wandb.ai"),
    ],
)
def test_an_address_that_is_none_is_one_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", address)
    with pytest.raises(ConfigError, match=sentence):
        account()


KEY, OTHER = "a" * 40, "b" * 40


def test_address_and_key_are_where_wandb_login_puts_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command itself, into files of this folder; with the package's own reading as the judge."""
    for name in ("WANDB_BASE_URL", "WANDB_API_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    login = [sys.executable, "-m", "wandb", "login", "--host", server.url, KEY]
    subprocess.run(login, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    found = account()
    assert (found.url, found.app_url, found.key) == (server.url, server.url, KEY)
    assert KEY not in repr(found)
    assert repr(wandb_api.connect("lab", "p")).count(KEY) == 0


def test_what_is_nearer_counts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_APP_URL", "WANDB_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)
    hosts = ("api.wandb.ai", "mine.example.org:8443", "api.far.example.org")
    lines = [f"machine {host}\n login user\n password {host.replace(':', '-')}\n" for host in hosts]
    (tmp_path / "netrc").write_text("".join(lines))
    assert (account().url, account().app_url) == ("https://api.wandb.ai", "https://wandb.ai")
    assert account().key == "api.wandb.ai"
    for folder, host in ((".config/wandb", hosts[2]), ("wandb", hosts[1])):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "settings").write_text(f"[default]\nbase_url = https://{host}/\nroot = 100%\n")
        assert (account().url, account().key) == (f"https://{host}", host.replace(":", "-"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.forge.coreweave.com/")
    assert (account().app_url, account().key) == (
        "https://forge.coreweave.com/wandb",
        "api.wandb.ai",
    )
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.far.example.org")
    assert account().app_url == "https://app.far.example.org"
    monkeypatch.setenv("WANDB_APP_URL", "https://see.example.org/")
    monkeypatch.setenv("WANDB_API_KEY", OTHER)
    assert (account().app_url, account().key) == ("https://see.example.org", OTHER)
    monkeypatch.setenv("WANDB_API_KEY", "two words")
    with pytest.raises(ConfigError, match="it may hold neither spaces nor accents"):
        account()


@pytest.mark.parametrize(
    ("file", "variable"), [("netrc", "WANDB_API_KEY"), ("wandb/settings", "WANDB_BASE_URL")]
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, variable: str
) -> None:
    monkeypatch.delenv(variable)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("nonsense\x00 [")
    with pytest.raises(ConfigError, match=rf"{file} cannot be read .* or set {variable}"):
        account()


def test_collecting_needs_no_wandb_package(synced: Server) -> None:
    code = (
        "import sys; sys.modules['wandb'] = None; from reports.sources import wandb_api;"
        "print(len(wandb_api.load('lab/p', None).runs))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr
