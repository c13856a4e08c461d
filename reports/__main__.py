"""`python -m reports [NAME]`: the report of a sweep or a study, from the records that exist.

`python -m reports audit` and `python -m reports sync` compare with W&B and bring it up to date.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C within the imports: program() takes it from there

from ablations.sweep import studies
from lightning_module.support import command_line
from lightning_module.support.errors import ConfigError, tell
from lightning_module.support.program import program
from reports import audit, choose, sources, sync
from reports.numbers.join import Collected, collect
from reports.pages import folder
from reports.pages.markdown import markdown
from reports.publish import entity_and_project, publish
from reports.sections.index import index
from reports.sections.report import build_report
from reports.sources import Frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 if --check found a difference; 2 for bad input, said in one sentence on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"audit": audit.main, "sync": sync.main}
    try:
        if words and words[0] in commands:
            return commands[words[0]](words[1:])
        options = parser().parse_args(words)
        if options.studies is not None:
            studies.use(options.studies)
        if options.list:
            if options.name or options.all or options.check or options.publish:
                raise ConfigError(
                    "--list lists what can be reported, and makes no report; leave out the rest"
                )
            there = sources.declared(options.source, options.runs)
            asked, damaged = choose.readable(choose.asked_for(options.runs, options.source, there))
            print("\n".join(choose.listing(asked) or [choose.no_sweep(options.runs, options.source)]))
            return max([0, *map(tell, damaged)])
        return every(options) if options.all else single(options)
    except ConfigError as error:
        return tell(error)


def parser() -> command_line.Parser:
    """The command line."""
    p = command_line.Parser(
        command_line.command("report"),
        description="Turns runs into a report: Markdown, HTML, SVG figures, CSV and LaTeX tables.",
        epilog=f"See also: {command_line.command('audit', '--help')}, {command_line.command('sync', '--help')}.",
    )
    p.add_argument("name", nargs="?", help="sweep or study; default: the sweep asked for last")
    p.add_argument("--list", action="store_true", help="list the sweeps that can be reported, newest first")
    p.add_argument("--all", action="store_true", help="report every study and sweep, and write an index page")
    p.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if a report is out of date"
    )
    p.add_argument("--studies", metavar="PLACE", help=command_line.STUDIES)
    p.add_argument("--source", default="records", help="records | wandb-offline | wandb:ENTITY/PROJECT")
    p.add_argument(
        "--publish", metavar="wandb:ENTITY/PROJECT", help="put the report into W&B Reports as well"
    )
    p.add_argument(
        "--runs", type=command_line.folder, default=command_line.RUNS, metavar="FOLDER", help="default: runs"
    )
    p.add_argument(
        "--out", type=command_line.folder, default=Path("results"), metavar="FOLDER", help="default: results"
    )
    return p


def single(options: argparse.Namespace) -> int:
    """Make (or check) one report; the exit code."""
    if options.check and options.publish:
        raise ConfigError("--check writes nothing, and --publish does; leave out one of them")
    if options.publish:
        entity_and_project(options.publish)  # before any work
    manifest, choice = choose.manifest(options.name, options.runs, options.source)
    study = choose.study(manifest)
    if choice:
        print(choice)
    frames = sources.load(options.source, options.runs, manifest)
    collected = collect(choose.at(manifest, options.runs), study, frames)
    report = build_report(collected, command(options, manifest.name))
    target = options.out / manifest.name
    code = write_or_check(target, folder.report_files(report), options.check)
    print(report.status)
    say_damage(frames, options.runs)
    if not options.check:
        print(f"{target / 'report.md'}\n{target / 'report.html'}")
    if options.publish:
        print(publish(markdown(report), options.publish, manifest))
    return code


def every(options: argparse.Namespace) -> int:
    """Make (or check) the reports of all sweeps, and the index of them and of the studies not started.

    What cannot be reported (a study whose file has a mistake, a manifest that is damaged) has no report: a sentence
    says why, and the exit code is 2.
    """
    if options.name or options.publish:
        raise ConfigError("--all takes neither a name nor --publish; leave out one of them")
    known, broken = choose.every_study()
    frames = sources.load(options.source, options.runs, None)
    asked, damaged = choose.readable(choose.asked_for(options.runs, options.source, frames.declared))
    codes = [tell(error) for error in (*broken.values(), *damaged)]
    reported: dict[Path, Collected] = {}
    for manifest in choose.by_study(asked):
        target = options.out / manifest.name
        if manifest.study in broken:
            continue
        try:
            study = choose.study(manifest)
            if twin := next((path for path in reported if target.exists() and path.samefile(target)), None):
                raise ConfigError(f"{target} is {twin} by another name; move one of the manifests away")
            reported[target] = collect(choose.at(manifest, options.runs), study, frames)
        except ConfigError as error:
            damaged.append(error)
            codes.append(tell(error))
            continue
        report = build_report(reported[target], command(options, manifest.name))
        codes.append(write_or_check(target, folder.report_files(report), options.check))
    started = {manifest.study for manifest in asked}
    waiting = {name: study for name, study in known.items() if name not in started}
    mistakes = [str(error).removeprefix(f"{options.runs}/") for error in (*broken.values(), *damaged)]
    report = index([*reported.values()], waiting, mistakes, command(options, "--all"))
    codes.append(write_or_check(options.out, folder.page_files(report, "index"), options.check))
    print(report.status)
    say_damage(frames, options.runs)
    if not options.check:
        print(f"{options.out / 'index.md'}\n{options.out / 'index.html'}")
    return max(codes)


def say_damage(frames: Frames, runs: Path) -> None:
    """Name on stderr what cannot be read; its cells are in the report, without a number."""
    for run in frames.runs[frames.runs["state"] == "damaged"].to_dict("records"):
        # The reason of a record names its file from the runs folder on.
        place = f"{runs}/" if run["reason"].startswith(run["identity"]) else f"{run['name']}: "
        print(place + run["reason"], file=sys.stderr)


def write_or_check(target: Path, contents: dict[str, str], check: bool) -> int:
    """Write a folder; or say on stderr what is out of date in it: exit code 1 if anything is."""
    said = folder.differing(target, contents) if check else folder.write(target, contents)
    for line in said:
        print(line, file=sys.stderr)
    return int(check and bool(said))


def command(options: argparse.Namespace, what: str) -> str:
    """What makes this report again; with its folders only where one can type them elsewhere too."""
    words = [what]
    for key in ("runs", "out"):
        path = choose.from_here(getattr(options, key))
        if path != parser().get_default(key) and not path.is_absolute():
            words += [f"--{key}", str(path)]
    for key in ("source", "studies"):
        if (value := getattr(options, key)) != parser().get_default(key):
            words += [f"--{key}", value]
    return command_line.command("report", *words)


if __name__ == "__main__":
    with program():
        sys.exit(main())
