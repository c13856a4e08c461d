"""The API collector against a real socket: the frames of the records, few requests, clear errors."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from frames_schema import checked
from wandb_lab import manifest, push, same, work
from wandb_server import ProjectNode, Root, Server, now
from wandb_worker import make_cell

from ablations.sweep.manifest import write
from ablations.verdicts.images import right_images
from lightning_module.support.errors import ConfigError
from reports import __main__ as door
from reports.pages.folder import LIST
from reports.sources import Frames, _wandb_client, _wandb_histories, _wandb_listing, load, records, wandb_api
from reports.sources._cache import write_cache
from reports.sources._wandb_rows import parsed_run


def shared(text: str, frames: Frames) -> str:
    """A text without what names its source: command, checksums, addresses."""
    own = ("SHA-256", "--source", "python -m reports", "W&B", "W\\&B")
    text = re.sub(r"\n<tr><td[^>]*>W&amp;B</td>.*?</tr>", "", text)
    text = re.sub(r"\[(\w+)\]\(http[^)]*/runs/\1\)", r"\1", text)  # a cell's identity links to its run
    text = re.sub(r'<a href="http[^"]*/runs/(\w+)">\1</a>', r"\1", text)
    for checksum in frames.runs["checksum"]:
        text = text.replace(checksum, "checksum")
    return "\n".join(line for line in text.splitlines() if not any(word in line for word in own))


def test_run_to_offline_to_sync_to_api_gives_the_frames_of_the_records(synced: Server, runs: Path) -> None:
    frames = checked(wandb_api.load("lab/p", None))
    kept = records.load(str(runs), None)
    same(frames, kept)
    right, truth = (right_images(each.events[make_cell(1).identity], "test/error") for each in (frames, kept))
    assert right is not None
    assert right.tolist() == truth.tolist()
    url = frames.runs.set_index("identity").at[make_cell(1).identity, "url"]
    assert url == f"{synced.url}/lab/p/runs/{make_cell(1).identity}"


def test_the_unmodified_api_sees_the_same_values(synced: Server, runs: Path) -> None:
    frames = wandb_api.load("lab/p", None)
    values = 0
    for run in wandb.Api().runs(
        "lab/p", lazy=False, per_page=3, filters={"jobType": "train"}, order="-created_at"
    ):
        mine = frames.history[frames.history["identity"] == run.id].set_index("epoch")
        seen = {row["epoch"]: row for row in run.scan_history(use_cache=False)}
        for epoch, row in mine.iterrows():
            for metric in ("train/loss", "test/error", "seconds", "step"):
                theirs = float(seen[epoch][metric])
                assert theirs == row[metric] or (theirs != theirs and row[metric] != row[metric])
                values += 1
        assert run.config["model"]["depth"] == frames.runs.set_index("identity").at[run.id, "model.depth"]
        assert run.group == "depth"
        assert run.summary["epoch"] == mine.index.max()
    assert values == 4 * len(frames.history)


@pytest.mark.parametrize("source", ["wandb:lab/p", "wandb-offline"])
def test_every_cell_of_every_table_is_that_of_the_report_from_records(
    synced: Server, runs: Path, tmp_path: Path, source: str
) -> None:
    write(runs, manifest(runs))
    for name, out in (("records", "a"), (source, "b")):
        assert door.main(["depth", "--runs", str(runs), "--out", str(tmp_path / out), "--source", name]) == 0
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")}
    files.remove(Path("depth", LIST))  # checksums of the others
    compared = 0
    for file in files:
        one = shared((tmp_path / "a" / file).read_text(), load("records", runs, None))
        other = shared((tmp_path / "b" / file).read_text(), load(source, runs, None))
        assert one == other, file
        compared += len(one.split(",")) if file.suffix == ".csv" else 0
    assert compared > 50


def test_a_manifest_loads_its_cells_only(synced: Server, runs: Path) -> None:
    names = {make_cell(0).identity, make_cell(3).identity}
    synced.requests.clear()
    frames = wandb_api.load("lab/p", manifest(runs, *names))
    assert set(frames.runs["identity"]) == names
    assert synced.requests == ["Runs", "Histories"]


def test_nothing_new_is_one_request(synced: Server) -> None:
    first = wandb_api.load("lab/p", None)
    synced.requests.clear()
    again = wandb_api.load("lab/p", None)
    assert synced.requests == ["Runs"]
    same(again, first)
    assert list(again.runs["checksum"]) == list(first.runs["checksum"])


def test_a_resumed_run_is_fetched_again_and_no_other(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb_api.load("lab/p", None)
    assert work(runs, [{"seed": 4, "first": 3, "last": 5}]).returncode == 0
    push((runs / make_cell(4).identity).glob("wandb/offline-run-*"))
    synced.requests.clear()
    monkeypatch.setattr(_wandb_histories, "BATCH", 1)
    frames = wandb_api.load("lab/p", None)
    same(frames, records.load(str(runs), None))
    assert synced.requests == ["Runs", "Histories"]


def test_a_cell_of_another_study_is_found_although_it_is_old(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache holds newer runs than the one that is asked for now, and the first page stops short of it."""
    monkeypatch.setattr(_wandb_listing, "FIRST_PAGE", 2)
    order = sorted(synced.projects["lab", "p"].runs.values(), key=lambda run: run.heartbeat, reverse=True)
    names = [run.name for run in order]
    wandb_api.load("lab/p", manifest(runs, *names[:3]))
    found = wandb_api.load("lab/p", manifest(runs, *names[:3], names[-1]))
    assert set(found.runs["identity"]) == {*names[:3], names[-1]}
    assert len(wandb_api.load("lab/p", None).runs) == 7


def test_a_collection_of_one_study_says_nothing_about_the_runs_of_another(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is resumed, then others are heard from and reported: it is still fetched again afterwards."""
    monkeypatch.setattr(_wandb_listing, "FIRST_PAGE", 2)
    wandb_api.load("lab/p", None)
    assert work(runs, [{"seed": 4, "first": 3, "last": 5}]).returncode == 0
    push((runs / make_cell(4).identity).glob("wandb/offline-run-*"))
    others = [make_cell(seed).identity for seed in (0, 1, 3)]
    for name in others:
        synced.projects["lab", "p"].runs[name].heartbeat = now()
    wandb_api.load("lab/p", manifest(runs, *others))
    synced.requests.clear()
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))
    assert synced.requests == ["Runs", "Runs", "Histories"]
    synced.requests.clear()
    wandb_api.load("lab/p", None)
    assert synced.requests == ["Runs"], "the listing that was finished is where the next one ends"


def test_a_value_that_was_changed_by_hand_is_seen_when_a_study_is_asked_for(
    synced: Server, runs: Path
) -> None:
    """W&B moves no heartbeat for it."""
    name = make_cell(1).identity
    wandb_api.load("lab/p", manifest(runs, name))
    run = synced.projects["lab", "p"].runs[name]
    run.config = json.dumps(json.loads(run.config) | {"seed": {"value": 99}})
    assert list(wandb_api.load("lab/p", manifest(runs, name)).runs["seed"]) == [99]


def test_a_running_run_is_asked_for_again(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wandb_listing, "FIRST_PAGE", 2)  # so that the second collection does not come as far
    run = synced.projects["lab", "p"].runs[make_cell(4).identity]
    run.state, run.heartbeat = "running", "2020-01-01T00:00:00.000000Z"
    assert wandb_api.load("lab/p", None).runs.set_index("identity").at[run.name, "state"] == "running"
    run.state = "crashed"  # as the server finds out by itself, without a heartbeat
    assert wandb_api.load("lab/p", None).runs.set_index("identity").at[run.name, "state"] == "killed"


def test_a_deleted_run_is_gone(synced: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wandb_listing, "FIRST_PAGE", 2)
    assert len(wandb_api.load("lab/p", None).runs) == 7
    oldest = min(synced.projects["lab", "p"].runs.values(), key=lambda run: run.heartbeat).name
    del synced.projects["lab", "p"].runs[oldest]
    assert oldest not in set(wandb_api.load("lab/p", None).runs["identity"])
    synced.requests.clear()
    wandb_api.load("lab/p", None)
    assert synced.requests == ["Runs"], "it is not in the cache either, so that the numbers agree again"


def test_a_collection_that_is_cut_off_keeps_what_had_come(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wandb_histories, "BATCH", 1)
    monkeypatch.setattr(_wandb_histories, "REQUESTS", 1)
    real, asked = _wandb_histories._rows, []

    def rows(client: Any, names: Any, found: Any) -> Any:
        asked.extend(names)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return real(client, names, found)

    monkeypatch.setattr(_wandb_histories, "_rows", rows)
    with pytest.raises(KeyboardInterrupt):
        wandb_api.load("lab/p", None)
    synced.requests.clear()
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))
    assert synced.requests == ["Runs", "Histories", "Histories"], "5 of 7 were there"


def test_pages_are_put_together(synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wandb_listing, "PAGE", 2)
    monkeypatch.setattr(_wandb_histories, "BATCH", 2)
    monkeypatch.setattr(_wandb_histories, "WINDOW", 4)
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))
    assert synced.requests.count("Runs") == 4


def test_somebody_elses_run_is_left_alone(synced: Server, tmp_path: Path) -> None:
    with wandb.init(project="p", entity="lab", job_type="train", dir=tmp_path, config={"lr": 1}) as run:
        run.log({"loss": 1.0})
    assert len(wandb_api.load("lab/p", None).runs) == 7


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_a_passing_failure_is_tried_again(synced: Server, runs: Path, status: int) -> None:
    synced.requests.clear()
    synced.fail(status, times=1, operation="Histories")
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))
    assert synced.requests.count("Histories") == 2


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "does not accept your API key"), (403, "is not open to your API key"), (404, "check the names")],
)
def test_a_refusal_is_one_sentence_at_once(synced: Server, status: int, sentence: str) -> None:
    synced.requests.clear()
    synced.fail(status)
    with pytest.raises(ConfigError, match=sentence):
        wandb_api.load("lab/p", None)
    assert synced.requests == ["Runs"]


def test_an_error_inside_an_answer_is_no_outage(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GraphQL says it with HTTP 200; the cache does not stand in for what the server refuses."""

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("this project is archived")

    wandb_api.load("lab/p", None)
    monkeypatch.setattr(Root, "project", refuse)
    with pytest.raises(ConfigError, match="refuses the query for wandb:lab/p: .*this project is archived"):
        wandb_api.load("lab/p", None)


def test_histories_that_are_too_much_for_one_answer_are_asked_for_in_parts(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ProjectNode.runs

    def runs_of(self: ProjectNode, info: Any, first: int = 50, **rest: Any) -> Any:
        if info.operation.name.value == "Histories" and first > 2:
            raise ValueError("the answer is too large")
        return real(self, info, first=first, **rest)

    monkeypatch.setattr(ProjectNode, "runs", runs_of)
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("lab/nothing", "wandb:lab/nothing does not exist, or your API key may not see it"),
        ("other/p", "wandb:other/p is not open to your API key"),
        ("runs", "source=wandb:runs does not say where; allowed is wandb:ENTITY/PROJECT"),
        ("a/b/c", "does not say where"),
        ("a/b?c", "does not say where"),
        ("https://wandb.ai/lab/p/runs/x", r"did you mean wandb:lab/p\?"),
    ],
)
def test_a_wrong_place_is_one_sentence(synced: Server, where: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        wandb_api.load(where, None)


def test_a_project_may_have_spaces_in_its_name(synced: Server, runs: Path) -> None:
    project = synced.projects.pop(("lab", "p"))
    project.name = "our first"
    synced.projects["lab", project.name] = project
    frames = wandb_api.load("lab/our first", None)
    same(frames, records.load(str(runs), None))
    assert all("/lab/our%20first/runs/" in url for url in frames.runs["url"])


def test_no_key_is_one_sentence_and_no_question(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    with pytest.raises(
        ConfigError, match=r"there is no API key for http.*run `wandb login` or set WANDB_API_KEY"
    ):
        wandb_api.load("lab/p", None)
    assert server.requests == []


def test_a_key_that_is_none_is_one_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "c" * 40)
    wandb.teardown()
    with pytest.raises(ConfigError, match="does not accept your API key"):
        wandb_api.load("lab/p", None)


def test_without_a_network_there_is_the_cache_and_it_is_said(
    synced: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wandb_client, "RETRIES", 1)
    first = wandb_api.load("lab/p", None)
    synced.__exit__()
    same(wandb_api.load("lab/p", None), first)
    assert "does not answer" in caplog.text
    assert "this is what was collected until 20" in caplog.text
    with pytest.raises(ConfigError, match="nothing of it was collected before"):
        wandb_api.load("lab/q", None)


def test_latency_is_paid_side_by_side(synced: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one history per request, eight requests at a time."""
    monkeypatch.setattr(_wandb_histories, "BATCH", 1)
    run = synced.projects["lab", "p"].runs[make_cell(1).identity]
    for number in range(40):
        run.copy(f"{number:012x}")
    synced.latency = 0.1
    assert len(wandb_api.load("lab/p", None).runs) == 47
    assert synced.most_waiting == _wandb_histories.REQUESTS


@pytest.mark.parametrize("kind", ["a folder", "another archive", "another project", "text"])
def test_a_cache_with_another_content_is_made_again(synced: Server, tmp_path: Path, kind: str) -> None:
    first = wandb_api.load("lab/p", None)
    (path,) = (tmp_path / "cache").rglob("*.npz")
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "another archive":
        np.savez(path, index=np.zeros(3), numbers=np.zeros(3))
    elif kind == "another project":
        write_cache(path, {"x": parsed_run("x", {"lr": 1}, {}, [], key="9|running|0")}, "9")
    else:
        path.write_text("nonsense")
    same(wandb_api.load("lab/p", None), first)
    synced.requests.clear()
    same(wandb_api.load("lab/p", None), first)
    assert synced.requests == ["Runs"], "it was made again"


def test_a_damaged_cache_is_done_without(synced: Server, tmp_path: Path) -> None:
    first = wandb_api.load("lab/p", None)
    (path,) = (tmp_path / "cache").rglob("*.npz")
    path.write_bytes(b"nonsense")
    same(wandb_api.load("lab/p", None), first)
    shutil.rmtree(tmp_path / "cache")
    same(wandb_api.load("lab/p", None), first)
