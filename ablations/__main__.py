"""python -m ablations list | plan STUDY [OVERRIDES] | settle STUDY [OVERRIDES] | why A [B] | units: what can be asked,
and what it would take."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C within the imports: program() takes it from there

from ablations.sweep import estimate, show, studies
from ablations.sweep.accepted import asked_for, check_hydra
from ablations.sweep.check_study import checked
from ablations.sweep.compose import use_studies
from ablations.sweep.launcher_words import quoted
from ablations.sweep.overrides import plain_value, typed
from ablations.sweep.plan import Sweep, sweep
from ablations.sweep.request import request
from ablations.sweep.rounds import next_round
from ablations.sweep.settle import stands, told
from ablations.sweep.simulate import USUAL_SD, simulate
from ablations.sweep.simulate import text as simulation_text
from lightning_module.cell import record
from lightning_module.cell.identity import difference
from lightning_module.support.command_line import RUNS, STUDIES, Parser, command, folder
from lightning_module.support.disk import no_folder
from lightning_module.support.errors import ConfigError, nearest, tell
from lightning_module.support.program import program
from lightning_module.support.text import aligned

WORD = re.compile(r"""(?:\[[^]]*]|"[^"]*"|'[^']*'|\S)+""")
"""An override among others: a blank ends it outside of brackets and quotes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0; 2 for bad input, said in one sentence on stderr."""
    try:
        options = _parser().parse_args(arguments)
        if (place := getattr(options, "studies", None)) is not None:
            studies.use(place)
        if options.command == "list":
            return list_studies(options.runs, options.on, place)
        print(_answer(options))
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        return tell(error)
    return 0


def _answer(options: argparse.Namespace) -> str:
    if options.command == "plan":
        return plan(options)
    if options.command == "settle":
        return settle(options)
    if options.command == "why":
        return why(options.cells, options.runs)
    from ablations import units  # here, because it imports torch

    return units.text()


def _parser() -> Parser:
    parser = Parser("python -m ablations", description="Studies: what they ask, what they take.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="every study: question, cells, done, cost")
    planning = commands.add_parser("plan", help="the cells of a study or a grid: cost, state, what would run")
    planning.add_argument(
        "wanted", nargs="+", metavar="STUDY|OVERRIDE", help="such as: depth seed=0 data=digits"
    )
    planning.add_argument("--json", action="store_true", help="for a program")
    planning.add_argument("--cells", action="store_true", help="one line per cell, seeds not drawn together")
    reason = commands.add_parser(
        "why", help="what differs between two cells, or from the nearest finished one"
    )
    reason.add_argument(
        "cells", nargs="+", metavar="CELL", help='an identity, or overrides: "model.depth=56 seed=1"'
    )
    commands.add_parser("units", help="weights and multiply-adds of a basic unit and of a bottleneck")
    settling = commands.add_parser(
        "settle", help="what the next round of a study that settles its claims would run"
    )
    settling.add_argument(
        "wanted", nargs="+", metavar="STUDY|OVERRIDE", help="such as: depth data=digits recipe=quick"
    )
    settling.add_argument("--budget", metavar="HOURS", help="device-hours in all, such as 40h")
    settling.add_argument(
        "--simulate",
        action="store_true",
        help="what it would probably cost, from the papers' numbers; no record counts",
    )
    settling.add_argument(
        "--sd",
        type=float,
        metavar="POINTS",
        help=f"between seeds, where a paper prints none; default: {USUAL_SD}",
    )
    settling.add_argument("--json", action="store_true", help="for a program")
    for each in (listing, planning, settling, reason):
        each.add_argument("--runs", type=folder, default=None, metavar="FOLDER", help="default: runs")
        each.add_argument("--studies", default=None, metavar="PLACE", help=STUDIES)
    for each in (listing, planning, settling):
        text = "device of the expected hours: auto, gpu, cpu, or a part of the name of one that was measured"
        each.add_argument("--on", default="auto", metavar="DEVICE", help=text)
    return parser


def list_studies(runs: Path | None, device: str, place: str | None) -> int:
    """Print every study; exit code 2 if one has a mistake, which does not hide the others."""
    where = runs or RUNS
    speed = estimate.of_device(estimate.measured(where), device)
    lines = [("study", "cells", "done", f"{speed.kind.upper()} time", "question")]
    wrong, damages = [], dict[str, None]()
    for name in studies.names():
        try:
            study = checked(name)
            planned = show.planned_cells(
                sweep(request([f"ablation={name}", typed("runs", str(where))]), []), speed
            )
        except ConfigError as error:
            wrong.append(str(error))
            continue
        damages |= dict.fromkeys(cell.damage for cell in planned if cell.damage)
        done = sum(cell.action == "done" for cell in planned)
        total = show.hours(sum(cell.hours for cell in planned))
        lines.append((name, str(len(planned)), str(done), total, study.question))
    print("\n".join(aligned(lines, right={1, 2, 3})))
    print(f"\n{speed.kind.upper()} time: {speed.source}.")
    into = [] if where == RUNS else [typed("runs", str(where))]
    into += [typed("studies", place)] if place else []
    print(f"One of them:  {command('plan', 'STUDY', *(['--studies', place] if place else []), runs=where)}")
    print(f"Run it:       {command('run', '-m', 'ablation=STUDY', *into)}")
    for sentence in damages:
        print(sentence, file=sys.stderr)
    for sentence in wrong:
        print(f"error: {sentence}", file=sys.stderr)
    return 2 if wrong else 0


def plan(options: argparse.Namespace) -> str:
    """The plan of a study or of a grid, as text or JSON."""
    made = _sweep(options)
    if made.settle:
        words = [str(made.manifest.study), *(["--studies", options.studies] if options.studies else [])]
        raise ConfigError(
            f"settle=true does not change a plan; its next round: {command('settle', *words, runs=made.runs)}"
        )
    speed = estimate.of_device(estimate.measured(made.runs), _device(options, made))
    planned = show.planned_cells(made, speed)
    if options.json:
        return show.plan_json(made, planned, speed)
    return show.plan_text(made, planned, speed, options.cells)


def settle(options: argparse.Namespace) -> str:
    """The next round of a study, or what all of them would probably cost, as text or JSON."""
    if options.sd is not None and not (options.simulate and 0 < options.sd < 100):
        raise ConfigError(
            f"--sd {options.sd:g} needs --simulate and is a number of points, above 0 and below 100"
        )
    asked = ["settle=true", *([f"budget={options.budget}"] if options.budget is not None else [])]
    made = _sweep(options, asked)
    device = _device(options, made)
    now = stands(made, device, retry=True)
    if options.simulate:
        simulated = simulate(now, checked(str(made.manifest.study)), options.sd or USUAL_SD)
        speed = estimate.of_device(estimate.measured(made.runs), device)
        if options.json:
            return json.dumps({**simulated.to_json(), "expected_from": speed.source}, indent=1)
        return f"{simulation_text(simulated, speed.kind.upper())}\n{speed.kind.upper()} time: {speed.source}."
    round_ = next_round(now)
    if options.json:
        return json.dumps(round_.to_json(), indent=1)
    return "\n".join([*told(round_, now), *([] if round_.end else [f"Run it:  {made.manifest.command}"])])


def _device(options: argparse.Namespace, made: Sweep) -> str:
    """The device of the expected hours: what was asked for, or else what the cells themselves ask for."""
    accelerator = str(made.cells[0].config["trainer"]["accelerator"])
    return accelerator if options.on == "auto" else str(options.on)


def _sweep(options: argparse.Namespace, more: Sequence[str] = ()) -> Sweep:
    wanted, own = options.wanted, {"runs": options.runs, "studies": options.studies}
    several = [text for text in wanted if not _is_override(text)]
    if len(several) > 1:
        raise ConfigError(
            f"{options.command} takes one study, but {' and '.join(several)} were named; ask for one after the other"
        )
    overrides = [text if _is_override(text) else f"ablation={text}" for text in wanted]
    asked = [*map(quoted, overrides), *more, *(typed(key, str(value)) for key, value in own.items() if value)]
    use_studies(asked)
    check_hydra(asked)
    made = asked_for(asked, shlex.split(command("run", "-m", *asked)))
    if why := no_folder(made.runs):
        raise ConfigError(f"runs={made.runs} {why}; choose another with runs=FOLDER")
    return made


def _is_override(text: str) -> bool:
    return "=" in text or text.startswith(("~", "+"))


def why(cells: Sequence[str], runs: Path | None) -> str:
    """What differs between two cells; of one cell, from the finished one that differs least."""
    if len(cells) > 2:
        raise ConfigError(
            f'{len(cells)} cells were given; name one or two, such as: why "model.depth=56 seed=1"'
        )
    where = runs or RUNS
    records = record.read_all(where)
    named = [_cell(text, records) for text in cells]
    for damage in (one.damage for one in records.values() if one.damage):
        print(damage, file=sys.stderr)
    if len(named) == 2:
        return show.difference_text(*named)
    identity, config = named[0]
    finished = {
        other: one.cell["config"]
        for other, one in records.items()
        if one.state in record.FINAL and other != identity.split()[-1]
    }
    if not finished:
        raise ConfigError(
            f"{where} holds no other finished cell to compare {cells[0]} with; name a second cell"
        )
    other = min(finished, key=lambda name: (len(difference(config, finished[name])), name))
    return show.difference_text(named[0], (f"{records[other].cell['name']} {other}", finished[other]))


def _cell(text: str, records: Mapping[str, record.Record]) -> tuple[str, dict[str, Any]]:
    """(name and identity, canonical configuration) of an identity, or its beginning, or of overrides."""
    if "=" in text:
        overrides = [quoted(word) for word in WORD.findall(text)]
        use_studies(overrides)
        check_hydra(overrides)
        for each in overrides:
            plain_value(each)  # of one cell
            if each.startswith("ablation="):
                raise ConfigError(
                    f"{each} is a study, not a cell; name its cell by model.depth=56 and the like"
                )
        (cell,) = asked_for(overrides, []).cells
        return f"{cell.name} {cell.identity}", cell.canonical
    if not records:
        raise ConfigError(
            f"{text or repr(text)} is not an identity: there is no such record, nor any other here; "
            "overrides are written key=value"
        )
    hits = [name for name, one in records.items() if text and name.startswith(text) and one.cell]
    if not hits and (found := [one for name, one in records.items() if text and name.startswith(text)]):
        raise ConfigError(found[0].damage)
    if len(hits) != 1:
        known = (
            f"it begins {len(hits)} identities"
            if hits
            else f"there is no such record; {nearest(text, list(records)[:20])}"
        )
        raise ConfigError(
            f"{text or repr(text)} is not an identity: {known}; overrides are written key=value"
        )
    head = records[hits[0]].cell
    return f"{head['name']} {hits[0]}", head["config"]


if __name__ == "__main__":
    with program():
        sys.exit(main())
