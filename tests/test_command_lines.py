"""What is typed, and what is said: one table, each row run through the real door.

A row: (command line as typed into bash, exit code, words that appear, words that do not). The commands are
`run.py …` (python run.py …) and `ablations …`, `reports …`, `slurm …` (python -m …), in an empty folder whose path is
$HOME, with NAME=value before them for the environment. For every row: no traceback; with exit code 2, one line on
stderr and nothing in the folder. A row costs about 0.1 s, if it trains nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import rows_of_overrides
from command_server import server
from small import ROOT

from lightning_module.support.disk import cache_folder

Row = tuple[str, int, list[str], list[str]]

ROWS: list[Row] = [
    # A value that does not fit
    ("run.py model.depth=57", 2, ["model.depth=57", "56 and 62"], []),
    ("run.py data=cifar11", 2, ["data=cifar11 is not known", "did you mean cifar10?"], []),
    ("run.py model.depth=20,56", 2, ["model.depth=20,56 lists several values", "-m"], []),
    # Showing
    ("run.py --cfg job model.depth=56", 0, ["depth: 56"], []),
    ("run.py --help", 0, ["plain_cifar", "project: null"], []),
    ("ablations --help", 0, ["plan", "why"], []),
    ("ablations plan depth seed=0", 0, ["6 cells"], []),
    ("ablations units", 0, ["16.94 times", "1,179,648", "69,632"], []),
    ("ablations units x", 2, ["x"], ["usage"]),
    # Other commands
    ("reports nothing", 2, ["nothing is neither a sweep in runs nor a study"], []),
    ("slurm status", 2, ["--runs runs is not a folder"], []),
    *rows_of_overrides.ROWS,
]

TINY = "model.depth=8 model.width=4 recipe.steps=4 recipe.drops=[2] logger=none trainer=cpu trainer.progress=false"
NO_EFFECT = ["has no effect", "hydra.launcher.KEY", "runs=FOLDER"]

EFFECT: list[Row] = [
    # Parameters of the launcher
    ("run.py -m hydra/launcher=slurm 'runs=p_%j'", 2, ["runs=p_%j has % in its path"], []),
    (
        "run.py hydra/launcher=slurm hydra.launcher.exclude=node[3-4] hydra.launcher.partition=a,b --cfg hydra",
        0,
        ["exclude: node[3-4]", "partition: a,b"],
        [],
    ),
    # Hydra's own keys and options
    ("run.py hydra.sweep.dir=/tmp/x", 2, ["hydra.sweep.dir=/tmp/x", *NO_EFFECT], []),
    ("run.py -m hydra.run.dir=/tmp/x", 2, ["hydra.run.dir=/tmp/x", *NO_EFFECT], []),
    ("run.py hydra.job.chdir=true", 2, ["hydra.job.chdir=true", *NO_EFFECT], []),
    ("run.py hydra.verbose=foo", 2, ["hydra.verbose=foo", *NO_EFFECT], []),
    ("run.py hydra/sweeper=basic", 2, ["hydra/sweeper=basic", *NO_EFFECT], []),
    ("run.py --config-dir=/nonexistent", 2, ["--config-dir /nonexistent is not read", "conf/"], []),
    ("run.py -cn other", 2, ["--config-name other is not read"], []),
    ("run.py --experimental-rerun x", 2, ["--experimental-rerun x is not read"], []),
    ("run.py --resolve", 2, ["--resolve has no effect without --cfg"], []),
    ("run.py -m --info plugins", 2, ["--multirun and --info cannot be asked for at once"], []),
    ("run.py --cgf job", 2, ["--cgf", "did you mean --cfg?"], ["usage"]),
    ("run.py --cfg foo", 2, ["foo is not known; allowed are job, hydra, all"], ["usage"]),
    ("run.py --cfg", 2, ["--cfg/-c needs a value: job, hydra, all"], ["argument"]),
    ("run.py --cfg all -p foo", 2, ["--package=foo is not known; allowed are model"], []),
    ("run.py --cfg hydra -p model", 2, ["--package=model is not known; allowed are hydra"], []),
    ("run.py --cfg hydra -p hydra.launcher", 0, ["jobs: 1"], []),
    ("run.py -m --cfg job", 2, ["python -m ablations plan seed=0"], []),
    ("run.py -multirun model.depth=8,57", 2, ["--multirun takes no value", "write --multirun"], ["argument"]),
    ("run.py -m hydra.mode_foo=1", 2, NO_EFFECT, ["append"]),
    ("run.py --cfg job hydra.foo=1", 2, NO_EFFECT, ["append"]),
    ("run.py hydra.launcher=slurm", 2, ["has no effect", "did you mean hydra/launcher?"], []),
    ("run.py -m hydra.launcher.jobs.x=1", 2, ["is not a parameter", "did you mean jobs?"], ["append"]),
    ("run.py -m hydra.launcher.jobs=true", 2, ["hydra.launcher.jobs=true is not allowed"], []),
    ("run.py -m hydra.launcher.jobs=100000", 2, ["hydra.launcher.jobs=100000 x", "memory; use at most"], []),
    ("ablations plan depth hydra/launcher=slrum", 2, ["did you mean slurm?"], []),
    ("ablations plan depth hydra.launcher.foo=1", 2, ["is not a parameter of hydra/launcher=local"], []),
    ("ablations plan depth hydra.verbose=true", 2, ["hydra.verbose=true", *NO_EFFECT], []),
    ("ablations plan depth hydra.launcher.jobs=1,2", 2, ["one launcher runs all cells"], []),
    ("ablations plan depth hydra/launcher=slurm hydra.launcher.partition=gpu,cpu seed=0", 0, ["6 cells"], []),
    ("ablations plan degradation model=plain_cifar", 2, ["model=plain_cifar changes no cell of study"], []),
    ("ablations plan depth seed=0 model=plain_cifar trainer=auto", 0, ["plain-20"], []),
    ("ablations plan depth seed=0 model=fb_resnet_torch logger=wandb_offline", 0, ["6 cells"], []),
    ("ablations lst", 2, ["lst is not known", "did you mean list?"], []),
    ("run.py hydra.launcher.jobs=0 seed=0,1", 2, ["hydra.launcher.jobs=0 is not allowed"], []),
    # Values without effect
    ("run.py -m runs=a,b", 2, ["runs=a and runs=b train the same cell"], []),
    ("run.py -m trainer.devices=1,2", 2, ["trainer.devices=1,2", "the same cell", "mode=benchmark"], []),
    ("ablations plan mode=benchmark trainer.devices=1,2", 0, ["2 cells"], []),
    (
        f"run.py seed=1 {TINY} seed=0",
        0,
        ["note: seed=1 does not count: seed=0 comes later", "runs/9cc3bc51706a"],
        [],
    ),
    ("run.py study=depth", 2, ["study=depth is not how a study is chosen; write ablation=depth"], []),
    ("run.py study=null", 2, ["write ablation=null"], ["None"]),
    (
        "run.py recipe=he2015_cifar model.depth=110 recipe.warm_up_limit=64000",
        2,
        ["recipe.warm_up_limit=64000 does not end the warm-up before recipe.steps=64000"],
        [],
    ),
    (
        "run.py recipe.warm_up_limit=10",
        2,
        ["recipe.warm_up_limit=10 has no effect", "recipe.warm_up=train_error"],
        [],
    ),
    (
        "run.py recipe.warm_up_steps=10",
        2,
        ["recipe.warm_up_steps=10 has no effect", "recipe.warm_up=steps"],
        [],
    ),
    ("run.py recipe.warm_up=steps", 2, ["recipe.warm_up=steps has no effect", "from_depth=20 or less"], []),
    ("ablations plan recipe.warm_up=none,steps", 2, ["recipe.warm_up=steps has no effect"], []),
    ("ablations plan recipe=he2015_cifar recipe.warm_up=none", 0, ["ResNet-20"], []),
    ("ablations plan depth seed=0 recipe.warm_up=steps", 0, ["6 cells"], []),
    ("run.py recipe.warm_up_limit=10", 2, ["recipe.warm_up_limit=10 has no effect"], []),
    ("run.py trainer.sync_batch_norm=false", 2, ["has no effect", "several processes"], []),
    ("run.py trainer=cpu trainer.cuda_graph=true", 2, ["trainer.cuda_graph=true has no effect"], []),
    ("run.py logger=none logger.project=x", 2, ["has no effect; it needs logger=wandb or"], []),
    ("run.py logger.base_url=http://x", 2, ["has no effect; it needs logger=wandb"], []),
    (
        "run.py data=imagenet model=resnet_imagenet recipe=he2015_imagenet data.area=[0.5,1]",
        2,
        ["data.area=[0.5,1] has no effect; it needs data.crop=area"],
        [],
    ),
    ("run.py recipe.drops=[500]", 2, ["recipe.drops=[500] is not reached", "recipe.steps=400"], []),
    (
        *("run.py recipe=he2015_cifar recipe.steps=20000", 2),
        *(["recipe.drops=[32000,48000] is not reached", "write recipe.drops=[10000,15000]"], []),
    ),
    ("ablations plan depth recipe.steps=20000", 2, ["is not reached", "recipe.drops=[10000,15000]"], []),
    (
        *("run.py recipe=he2016_cifar recipe.steps=300 recipe.drops=[]", 2),
        *(["recipe.warm_up_steps=400 does not end the warm-up before recipe.steps=300"], []),
    ),
    # Empty, and too much
    ("run.py runs=", 2, ["runs= is empty"], []),
    ("run.py runs=$UNSET", 2, ["runs= is empty"], []),
    ("run.py logger.project=", 2, ["logger.project= is empty"], []),
    ("run.py data=cifar10 data.root=", 2, ["data.root= is empty"], []),
    ("run.py logger.project=a/b", 2, ["logger.project=a/b has a /"], []),
    ("run.py logger.base_url=foo", 2, ["logger.base_url=foo is not an address"], []),
    ("run.py recipe.batch_size=1000000", 2, ["recipe.batch_size=1000000", "data=digits", "1442"], []),
    (
        "run.py data=cifar10 data.train=45k recipe.batch_size=50000",
        2,
        ["the largest valid size is 45000"],
        [],
    ),
    ("run.py trainer.threads=100000", 2, ["trainer.threads=100000, but this machine has"], []),
    (
        "run.py trainer=cpu trainer.devices=1000 recipe.batch_size=1000",
        2,
        ["trainer.devices=1000", "memory"],
        [],
    ),
    ("run.py model.width=100000000", 2, ["parameters", "memory"], []),
    ("run.py seed=1e30", 2, ["seed=10000000000000000198… is too large"], []),
    ("run.py data.padding=9", 2, ["data.padding=9 is not allowed", "between 0 and 8"], []),
    # The other commands
    ("ablations plan depth degradation", 2, ["takes one study, but depth and degradation"], []),
    (
        "ablations plan depth --on quantum",
        2,
        ["--on quantum: nothing was measured on it", "gpu, cpu"],
        [],
    ),
    ("ablations plan depth --on ''", 2, ["--on : nothing was measured on it"], []),
    ("ablations plan depth --runs /dev/null", 2, ["--runs: /dev/null is a file, not a folder"], ["usage"]),
    ("ablations plan depth runs=/dev/null", 2, ["runs=/dev/null is a file, not a folder"], []),
    ("ablations plan depth --runs ''", 2, ["--runs: an empty text names no folder"], []),
    ("ablations plan depth --runs /dev/null", 2, [], ["FOLDER; choose"]),
    ("ablations why seed=1 ablation=depth", 2, ["ablation=depth is a study, not a cell"], []),
    ("ablations why 'recipe.drops=[200, 340] seed=1' seed=1", 0, ["recipe.drops"], []),
    ("ablations why seed=1 hydra/launcher=x", 2, ["hydra/launcher=x is not known"], []),
    ("ablations why study=depth seed=0", 2, ["study=depth is not how a study is chosen"], []),
    ("ablations why recipe.warm_up_steps=3 seed=2", 2, ["recipe.warm_up_steps=3 has no effect"], []),
    ("ablations why 'seed=1 model.depth' seed=2", 2, ["model.depth is not an override"], ["whole number"]),
    ("ablations why 'model.depth=56 runs=\"a b=c\"' seed=1", 0, ["ResNet-56"], []),
    ("ablations plan depth --runs x seed=0", 0, ["6 cells"], []),
    (
        "reports depth degradation",
        2,
        ["degradation is one word too many; python -m reports takes one NAME"],
        [],
    ),
    (f"reports --runs {'x' * 300}", 2, ["cannot be a folder (File name too long)", "--runs FOLDER"], []),
    (f"reports --out {'x' * 300}", 2, ["cannot be a folder (File name too long)", "--out FOLDER"], []),
    (f"ablations plan seed=0 runs={'x' * 300}", 2, ["cannot be a folder (File name too long)"], []),
    ("ablations plan seed=0 --runs /dev/null/x", 2, ["is below /dev/null, which is a file"], []),
    ("run.py logger=wandb logger.entity=a/b", 2, ["logger.entity=a/b has a /"], []),
    ("ablations list extra", 2, ["extra is one word too many; python -m ablations list takes none"], []),
    ("ablations plan --cells depth --json seed=0 --foo", 2, ["--foo is not understood"], ["seed=0"]),
    ("ablations plan depth hydra.launcher.jobs=0", 2, ["hydra.launcher.jobs=0 is not allowed"], []),
    ("ablations plan depth hydra.launcher.jobs=two", 2, ["hydra.launcher.jobs=two is not allowed"], []),
    ("ablations", 2, ["needs list or plan or why"], ["required"]),
    ("ablations plan depth --on", 2, ["--on needs a value: DEVICE"], ["argument"]),
    ("slurm cancel --runs . x", 2, ["x is no study, sweep or cell here; there is none"], ["allowed"]),
    ("slurm logs x --rank a --runs .", 2, ["--rank a is not a whole number"], ["int"]),
    ("ablations why '' --runs .", 2, ["is not an identity"], []),
    ("ablations plan --cell depth=3 --foo", 2, ["--foo", "allowed are --help, --json, --cells"], ["usage"]),
    ("reports --runs /dev/null", 2, ["--runs: /dev/null is a file, not a folder"], []),
    ("reports --out /dev/null", 2, ["--out: /dev/null is a file, not a folder"], []),
    ("reports --list --all", 2, ["--list", "leave out the rest"], []),
    (
        "reports degradation --publish foo",
        2,
        ["publish=foo is not known", "wandb:ENTITY/PROJECT"],
        ["finished"],
    ),
    ("reports degradation --publish wandb:x", 2, ["publish=wandb:x does not say where"], ["finished"]),
    ("reports ''", 2, ["'' is neither a sweep in runs nor a study"], []),
    ("reports --check --publish wandb:a/b", 2, ["--check writes nothing, and --publish does"], []),
    ("slurm retry --set foo=1 --runs .", 2, ["hydra.launcher.foo is not a key", "partition"], []),
    ("slurm retry --set wait=maybe --runs .", 2, ["hydra.launcher.wait=maybe is not true or false"], []),
    ("slurm retry --set mem= --runs .", 2, ["hydra.launcher.mem= is empty"], []),
    ("slurm logs x --rank -1 --runs .", 2, ["--rank -1 is not allowed"], []),
    ("slurm status --watch=3 --runs .", 2, ["--watch takes no value, such as 3; write --watch"], []),
    ("slurm cancel --all depth --runs .", 2, ["not both"], []),
]
"""Whatever is typed has an effect, or is refused."""


@dataclass(frozen=True)
class Done:
    """What a command line gave. here: the folder that it ran in."""

    code: int
    stdout: str
    stderr: str
    here: Path


def words_of(line: str, here: Path) -> tuple[list[str], dict[str, str]]:
    """The words of a command line, and the environment in front of them, as bash reads it."""
    script = 'printf "%s\\0" ' + line
    environment = {"PATH": os.environ["PATH"], "HOME": str(here)}
    bash = ["bash", "--norc", "-c", script]
    said = subprocess.run(bash, cwd=here, env=environment, capture_output=True, check=True).stdout
    words = os.fsdecode(said).split("\0")[:-1]
    first = next(index for index, word in enumerate(words) if "=" not in word)
    typed = dict(word.split("=", 1) for word in words[:first])
    return words[first:], {"HOME": str(here), "XDG_CACHE_HOME": str(cache_folder().parent), **typed}


@pytest.fixture
def typed(tmp_path: Path) -> Callable[[str], Done]:
    """A command line, as typed into bash in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()

    def run(line: str) -> Done:
        words, environment = words_of(line, here)
        command = words if words[0] == "run.py" else ["-m", *words]
        done = server(heeds=True).run(*command, cwd=here, env={**os.environ, **environment})
        code = done.returncode
        return Done(code if code >= 0 else 128 - code, done.stdout, done.stderr, here)

    return run


@pytest.mark.parametrize(
    ("line", "code", "said", "unsaid"),
    [*ROWS, *EFFECT],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_typed_and_what_is_said(typed, line, code, said, unsaid):
    done = typed(line)
    everything = done.stdout + done.stderr
    assert "Traceback" not in everything, everything
    assert done.code == code, everything
    assert [words for words in said if words not in everything] == [], everything
    assert [words for words in unsaid if words in everything] == [], everything
    if code == 2:
        assert done.stderr.startswith("usage: ") or len(done.stderr.splitlines()) == 1, done.stderr
        assert not list(done.here.iterdir()), "nothing may have been started"
        if written := re.search(
            "(?:cannot be read|keys are fixed|blank before).*; write (.+=.+)$", done.stderr
        ):
            pasted = typed(f"ablations plan {written[1]}")
            assert not re.search("cannot be read|is fixed|has a blank", pasted.stderr), pasted.stderr


def pasted(line: str) -> str:
    """A command line that was printed, as `typed` takes it."""
    return line.replace("python -m ", "").replace(f"python {ROOT / 'run.py'} ", "run.py ")


def test_what_is_printed_works_when_pasted(typed):
    """From a folder whose name has a blank; and two learning rates are two names, however near."""
    trained = typed(f"run.py -m 'runs=\"a b/c\"' recipe.learning_rate=0.1,0.10000001 {TINY}")
    assert trained.code == 0, trained.stderr
    for name in ("ResNet-8 (width=4) seed 0, learning_rate=0.1 ", "learning_rate=0.10000001 "):
        assert name in trained.stdout
    (hint,) = re.findall(r"^Report:  (.*)", trained.stdout, re.MULTILINE)
    report = typed(pasted(hint))
    assert report.code == 0, report.stderr
    assert "2 of 2 cells finished" in report.stdout
    record = next(trained.here.glob("a b/c/*/record.jsonl"))
    record.unlink()
    (record.parent / "last.ckpt").unlink()
    assert "1 of 2 cells finished" in typed(pasted(hint)).stdout
    (page,) = trained.here.glob("results/*/report.md")
    one_by_one = [line for line in page.read_text().splitlines() if line.startswith("python ")][1]
    assert "0 finished before, 1 to train" in typed(pasted(one_by_one)).stdout
    assert record.exists()
    nothing = typed("reports --runs 'd e'")
    (hint,) = re.findall(r"such as: python (.*)", nothing.stderr)
    assert typed(f"{hint} model.depth=57").stderr.startswith("error: model.depth=57 is not 6n+2")
