"""The WANDB_* variables of users: obeyed, or overridden with a word."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import ISSUE, ROOT
from wandb_server import Server

from lightning_module.cell.config import LoggerConfig
from lightning_module.support.errors import ConfigError
from lightning_module.tracking import wandb_wanted
from lightning_module.tracking.wandb_wanted import Wanted, wanted

USUAL = Wanted("offline", "residual-ablations", None, "depth")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    wandb_wanted._say.cache_clear()


OFFLINE, ONLINE = LoggerConfig("offline"), LoggerConfig("online")
OURS = LoggerConfig("offline", "ours", "we")


@pytest.mark.parametrize(
    ("logger", "variables", "expected", "said"),
    [
        (OFFLINE, {}, USUAL, []),
        (OFFLINE, {"WANDB_PROJECT": "", "WANDB_ENTITY": "", "WANDB_MODE": "", "WANDB_TAGS": ""}, USUAL, []),
        (
            OFFLINE,
            {"WANDB_PROJECT": "p", "WANDB_ENTITY": "lab", "WANDB_RUN_GROUP": "night", "WANDB_TAGS": "a, b,"},
            Wanted("offline", "p", "lab", "night", ("a", "b")),
            [],
        ),
        (OURS, {"WANDB_PROJECT": "p", "WANDB_ENTITY": "lab"}, Wanted("offline", "ours", "we", "depth"), []),
        (ONLINE, {"WANDB_MODE": "offline"}, USUAL, ["WANDB_MODE=offline: W&B is offline, in spite of"]),
        (ONLINE, {"WANDB_MODE": "dryrun"}, USUAL, ["WANDB_MODE=dryrun: W&B is offline, in spite of"]),
        (OFFLINE, {"WANDB_MODE": "offline"}, USUAL, []),
        (
            OFFLINE,
            {"WANDB_MODE": "online"},
            USUAL,
            ["WANDB_MODE=online has no effect with logger=wandb_offline"],
        ),
        (
            OFFLINE,
            {"WANDB_MODE": "shared"},
            USUAL,
            ["WANDB_MODE=shared has no effect; it may be online, offline"],
        ),
        (LoggerConfig("none"), {"WANDB_MODE": "online", "WANDB_RUN_ID": "x"}, None, []),
        (ONLINE, {"WANDB_MODE": "disabled", "WANDB_NAME": "x"}, None, ["W&B is off: WANDB_MODE=disabled"]),
        (ONLINE, {"WANDB_DISABLED": "true"}, None, ["W&B is off: WANDB_DISABLED=true"]),
        (OFFLINE, {"WANDB_DISABLED": "false"}, USUAL, []),
        (OURS, {"WANDB_PROJECT": "a/b", "WANDB_ENTITY": "c:d"}, Wanted("offline", "ours", "we", "depth"), []),
        (
            OFFLINE,
            {"WANDB_PROJECT": "a/b", "WANDB_MODE": "disabled"},
            None,
            ["W&B is off: WANDB_MODE=disabled"],
        ),
        (
            OFFLINE,
            {"WANDB_TAGS": "x" * 70 + ",b"},
            Wanted("offline", "residual-ablations", None, "depth", ("x" * 64, "b")),
            ["WANDB_TAGS: " + "x" * 70 + " is cut to 64 characters"],
        ),
    ],
)
def test_what_is_wanted(
    logger: LoggerConfig,
    variables: dict[str, str],
    expected: Wanted | None,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # the second cell of a process says nothing any more
            found = wanted(logger, "depth")
    assert found.mode == "none" if expected is None else found == expected
    assert len(caplog.messages) == len(said)
    assert all(message.startswith(text) for message, text in zip(caplog.messages, said, strict=True))


def test_a_name_that_wandb_does_not_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    with pytest.raises(ConfigError, match="WANDB_PROJECT=a/b has a /, which W&B does not allow"):
        wanted(OFFLINE, None)


def test_a_sweep_in_two_processes(server: Server, tmp_path: Path) -> None:
    """What would break a run is overridden, with one word for all of them; the rest is obeyed."""
    broken = {
        "WANDB_RUN_ID": "mine",
        "WANDB_RESUME": "must",
        "WANDB_NAME": "all alike",
        "WANDB_JOB_TYPE": "other",
        "WANDB_SWEEP_ID": "abc",
        "WANDB_DIR": str(tmp_path / "elsewhere"),
        "WANDB_CONFIG_PATHS": "no.yaml",
    }
    obeyed = {
        "WANDB_PROJECT": "theirs",
        "WANDB_RUN_GROUP": "night",
        "WANDB_TAGS": "a,b",
        "WANDB_NOTES": "why",
    }
    texts = [text for text in ISSUE if text != "logger=none"]
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "run.py"),
            "-m",
            "seed=0,1",
            "logger=wandb",
            "hydra.launcher.jobs=2",
            *texts,
        ],
        cwd=tmp_path,
        env=os.environ | server.environment(tmp_path) | broken | obeyed,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if " has no effect: " in line]
    names = [line.removeprefix("warning: ").partition("=")[0] for line in said]
    assert sorted(names) == sorted(broken)
    runs = server.projects["lab", "theirs"].runs
    assert set(runs) == {path.parent.name for path in tmp_path.glob("runs/*/record.jsonl")} and len(runs) == 2
    for run in runs.values():
        assert run.state == "finished" and len(run.rows) == 2
        assert run.fields["jobType"] == "train" and run.fields["groupName"] == "night"
        assert set(run.fields["tags"]) >= {"digits", "a", "b"} and run.fields["notes"] == "why"
        assert "seed" in run.fields["displayName"]
    assert not (tmp_path / "elsewhere").exists()
