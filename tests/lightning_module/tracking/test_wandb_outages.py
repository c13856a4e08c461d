"""A server that is away, ill, strange, or forgets: a cell goes on in bounded time, and says what it met, once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from small import ROOT
from wandb_lab import edit, work
from wandb_server import Server
from wandb_worker import make_cell

from lightning_module.cell import record
from reports.sources import wandb_offline

ONE = [{"seed": 0, "last": 3}]
KEY = {"WANDB_API_KEY": "a" * 40}


def epochs(runs: Path, seed: int) -> list[float]:
    """Those that the newest W&B file of a cell holds."""
    (*_, newest) = wandb_offline.files(runs / make_cell(seed).identity)
    return [row["epoch"] for row in wandb_offline.read_files([newest]).rows]


def warned(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a worker said, without the waits."""
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if not line.startswith("waiting for ")]


def test_a_fault_that_is_not_the_servers_is_no_reason_to_leave_it_alone(
    server: Server, tmp_path: Path
) -> None:
    """What was mended is tried at once, and no empty run is left there by what never began."""
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "wandb.py").write_text("raise ModuleNotFoundError('No module named wandb')")
    good = server.environment(tmp_path) | {"WANDB_SILENT": "", "WANDB_NOTES": ""}
    off = "W&B is off for ResNet-20 A seed 0 ("
    for wrong, entity, said in (
        ({}, "nobody", "W&B is not reachable"),
        ({"WANDB_SILENT": "maybe"}, None, off + "1 validation error"),
        ({"PYTHONPATH": f"{tmp_path / 'absent'}:{ROOT}"}, None, off + "No module named wandb)"),
    ):
        done = work(
            tmp_path / "runs", [{**ONE[0], "end": "failed", "entity": entity}], "online", **(good | wrong)
        )
        (warning,) = warned(done)
        assert warning.startswith(said)
        assert not server.projects
    assert warned(work(tmp_path / "runs", ONE, "online", **good)) == []


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """The address of something that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def test_a_run_that_cannot_be_started_is_logged_offline_and_the_next_one_online(
    server: Server, tmp_path: Path
) -> None:
    """The key is good, and the server makes no run: wandb.init ends in its own time limit."""
    runs = tmp_path / "runs"
    server.fail(500, times=1000, operation="UpsertBucket")

    def heal() -> None:
        while not list(runs.glob("*/wandb/offline-run-*")):
            time.sleep(0.02)
        server._faults.clear()

    threading.Thread(target=heal, daemon=True).start()
    attempts = [{"seed": 0, "last": 3}, {"seed": 1, "last": 3}]
    limits = {"REACH_TIMEOUT": 4, "FORGET": 0}
    done = work(runs, attempts, "online", limits, **server.environment(tmp_path))
    (warning,) = warned(done)
    assert "answers HTTP 500" in warning and "ResNet-20 A seed 0 is logged offline" in warning
    assert "python -m reports sync lab/p" in warning or "sync ENTITY/p" in warning
    assert epochs(runs, 0) == [1, 2, 3]
    assert list(server.projects["lab", "p"].runs) == [make_cell(1).identity]
    assert len(server.projects["lab", "p"].runs[make_cell(1).identity].rows) == 3


def test_a_server_that_stops_answering_in_the_middle_of_a_start_takes_bounded_time(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(operation: str) -> int | None:
        if operation == "UpsertBucket":
            time.sleep(60)
        return None

    monkeypatch.setattr(server, "fault", hang)
    limits = {"REACH_TIMEOUT": 3, "SHORT_TIMEOUT": 1}
    for seed, most in ((0, 15), (1, 5)):  # the second process leaves the server alone, too
        attempts = [{"seed": seed, "last": 2}]
        done = work(tmp_path / "runs", attempts, "online", limits, **server.environment(tmp_path))
        (warning,) = warned(done)
        assert "does not answer within 1 s" in warning
        assert float(done.stdout.split()[0]) < most
        assert epochs(tmp_path / "runs", seed) == [1, 2]
    assert server.requests.count("Viewer") == 1


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9: Connection refused"),
        (
            "wandb.example.org",
            "WANDB_BASE_URL=wandb.example.org is no address of the form https://HOST; write",
        ),
        ("http://nowhere.invalid", "http://nowhere.invalid: "),
        ("ftp://x", "WANDB_BASE_URL=ftp://x is no address of the form https://HOST)"),
        ("https://127.0.0.1:9", "https://127.0.0.1:9: Connection refused"),
    ],
)
def test_an_address_where_nothing_is(tmp_path: Path, address: str, said: str) -> None:
    done = work(tmp_path / "runs", ONE, "online", WANDB_BASE_URL=address, **KEY)
    (warning,) = warned(done)
    assert warning.startswith(f"W&B is not reachable ({said}")
    assert epochs(tmp_path / "runs", 0) == [1, 2, 3]


def test_the_key_that_wandb_login_wrote_for_a_server_with_a_port(server: Server, tmp_path: Path) -> None:
    variables = server.environment(tmp_path)
    key = variables.pop("WANDB_API_KEY")
    host = variables["WANDB_BASE_URL"].removeprefix("http://")
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {key}\n")
    (tmp_path / "wandb-config").mkdir()
    (tmp_path / "wandb-config" / "settings").write_text(
        f"[default]\nbase_url = {variables.pop('WANDB_BASE_URL')}\n"
    )
    variables["WANDB_CONFIG_DIR"] = str(tmp_path / "wandb-config")
    assert warned(work(tmp_path / "runs", ONE, "online", **variables)) == []
    assert len(server.projects["lab", "p"].runs[make_cell(0).identity].rows) == 3


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (
            301,
            b"",
            {"Location": "https://elsewhere.example/graphql"},
            "redirects to https://elsewhere.example;",
        ),
        (500, b"oh", {}, "answers HTTP 500)"),
        (404, b"<html>", {}, "answers HTTP 404)"),
        (401, b"{}", {}, "refuses the API key (HTTP 401)"),
        (200, b"<html>welcome", {}, "does not answer as a W&B server does"),
        (200, b'{"data": null, "errors": [{"message": "no"}]}', {}, "does not answer as a W&B server does"),
    ],
)
def test_a_server_that_answers_strangely(
    tmp_path: Path, status: int, body: bytes, headers: dict[str, str], said: str
) -> None:
    with answering(status, body, **headers) as address:
        done = work(tmp_path / "runs", ONE, "online", {"REACH_TIMEOUT": 2}, WANDB_BASE_URL=address, **KEY)
    (warning,) = warned(done)
    assert warning.startswith(f"W&B is not reachable ({address} {said}")
    assert epochs(tmp_path / "runs", 0) == [1, 2, 3]


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.fail(429, times=2, operation="Viewer")
    server.fail(503, times=1, operation="Runs")
    assert warned(work(tmp_path / "runs", ONE, "online", **server.environment(tmp_path))) == []
    assert len(server.projects["lab", "p"].runs[make_cell(0).identity].rows) == 3


def test_an_outage_in_the_middle_is_said_with_what_mends_it(server: Server, tmp_path: Path) -> None:
    runs, limits = tmp_path / "runs", {"ARRIVAL_TIMEOUT": 1}
    server.fail(401, times=1000, operation="file_stream")
    (warning,) = warned(work(runs, ONE, "online", limits, **server.environment(tmp_path)))
    assert warning.startswith(
        "ResNet-20 A seed 0 is not whole on W&B (0 of 3 epochs arrived); push it with  "
    )
    server._faults.clear()
    program, *words = warning.partition("with  ")[2].split()
    assert program == "python" and words[:4] == ["-m", "reports", "sync", "lab/p"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(server.projects["lab", "p"].runs[make_cell(0).identity].rows) == 3


def test_a_run_without_its_end_is_not_whole(server: Server, tmp_path: Path) -> None:
    """Whoever counts rows alone would not see it: all of them are there from the attempt before."""
    runs, limits = tmp_path / "runs", {"ARRIVAL_TIMEOUT": 1}
    before = [{"seed": 3, "last": 4, "end": "failed"}]
    assert warned(work(runs, before, "online", **server.environment(tmp_path))) == []
    assert len(server.projects["lab", "p"].runs[make_cell(3).identity].rows) == 4
    server.fail(401, times=1000, operation="file_stream")
    resumed = [{"seed": 3, "first": 4, "last": 4}]
    (warning,) = warned(work(runs, resumed, "online", limits, **server.environment(tmp_path)))
    assert "(its end did not arrive)" in warning


def test_a_key_that_is_revoked_in_the_middle(server: Server, tmp_path: Path) -> None:
    def revoke() -> None:
        while "file_stream" not in server.requests:
            time.sleep(0.01)
        server.entities.clear()

    environment = server.environment(tmp_path)
    threading.Thread(target=revoke, daemon=True).start()
    (warning,) = warned(work(tmp_path / "runs", ONE, "online", **environment))
    assert "whether it arrived is not known" in warning and "refuses the API key (HTTP 401)" in warning


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_wandb_that_does_nothing_any_more_does_not_hold_up_the_cell(
    server: Server, tmp_path: Path, mode: str
) -> None:
    limits = {"FINISH_TIMEOUT": 1, "GRACE": 1}
    done = work(tmp_path / "runs", [{**ONE[0], "stop": 2}], mode, limits, **server.environment(tmp_path))
    (warning,) = warned(done)
    assert "wandb did not answer within 2 s" in warning
    assert ("push it with" in warning) == (mode == "online")
    assert float(done.stdout.split()[1]) < 5
    assert record.read(tmp_path / "runs" / make_cell(0).identity).state == "finished"


def test_signals_that_a_scheduler_sends_to_every_process(tmp_path: Path) -> None:
    """`scancel --signal`, `#SBATCH --signal=USR1@60`: when the run ends, the trainer says."""
    told = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]
    assert warned(work(tmp_path / "runs", [{**ONE[0], "stop": 2, "by": told}])) == []
    assert epochs(tmp_path / "runs", 0) == [1, 2, 3]


def test_a_wandb_that_is_never_imported_does_not_hold_up_the_cell(tmp_path: Path) -> None:
    """As on a file system that has gone away."""
    (tmp_path / "wandb.py").write_text("import time\ntime.sleep(60)")
    done = work(tmp_path / "runs", ONE, limits={"IMPORT_TIMEOUT": 1}, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert warned(done) == [
        "W&B is off for ResNet-20 A seed 0 (wandb did not answer within 1 s); training goes on"
    ]


@pytest.mark.parametrize("epoch", ["ten", {"max": 4}, None])
def test_a_summary_that_was_edited_on_the_server_is_no_harm_to_the_cell(
    server: Server, tmp_path: Path, epoch: object
) -> None:
    """An attempt that resumes asks it how far the run is there, and logs all of it again if that says nothing."""
    runs, environment = tmp_path / "runs", server.environment(tmp_path)
    assert warned(work(runs, [{"seed": 0, "last": 2, "end": "failed"}], "online", **environment)) == []
    (run,) = server.projects["lab", "p"].runs.values()
    edit(run, summary={"epoch": epoch})
    assert warned(work(runs, [{"seed": 0, "first": 3, "last": 3}], "online", **environment)) == []
    assert [row["epoch"] for row in run.rows] == [1, 2, 1, 2, 3]


def test_a_run_that_was_deleted_goes_on_under_the_next_id(server: Server, tmp_path: Path) -> None:
    """The server refuses its id for ever, with 409, and wandb asks for ever."""
    runs, identity = tmp_path / "runs", make_cell(0).identity
    limits, environment = {"REACH_TIMEOUT": 3}, server.environment(tmp_path)
    project = server.project("lab", "p", create=True)
    assert project
    project.deleted.add(identity)
    first = work(runs, [{**ONE[0], "end": "failed"}], "online", limits, **environment)
    (warning,) = warned(first)
    assert warning.startswith(f"ResNet-20 A seed 0 was deleted on W&B as {identity}, an id that cannot")
    again = work(runs, [{"seed": 0, "first": 4, "last": 5}], "online", limits, **environment)
    assert warned(again) == [], "it is there under the next id, and goes on at once"
    assert float(again.stdout.split()[0]) < 6
    (run,) = server.projects["lab", "p"].runs.values()
    assert run.name == f"{identity}-2" and len(run.rows) == 5 and run.state == "finished"
    assert json.loads(run.config)["cell"]["value"]["identity"] == identity
