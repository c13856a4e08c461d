"""`python -m reports [NAME]`: the report of a sweep or a study, from the records that exist.

`python -m reports audit` and `python -m reports sync` compare with W&B and bring it up to date.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ablations.sweep import studies
from ablations.sweep.manifest import Manifest
from lightning_module.support.errors import ConfigError, tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 if --check found a difference; 2 for bad input, said in one sentence on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["audit"], ["sync"]):
        from importlib import import_module

        code: int = import_module(f"reports.{words[0]}").main(words[1:])
        return code
    options = parser().parse_args(words)
    try:
        return run(options)
    except ConfigError as error:
        return tell(error)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        "python -m reports",
        description="Turns runs into a report: Markdown, HTML, SVG figures, CSV and LaTeX tables.",
        epilog="See also: python -m reports audit --help, python -m reports sync --help.",
    )
    p.add_argument("name", nargs="?", help="sweep or study; default: the sweep asked for last")
    p.add_argument("--list", action="store_true", help="list the sweeps that can be reported, newest first")
    p.add_argument("--all", action="store_true", help="report every study and sweep, and write an index page")
    p.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if a report is out of date"
    )
    p.add_argument("--source", default="records", help="records | wandb-offline | wandb:ENTITY/PROJECT")
    p.add_argument(
        "--publish", metavar="wandb:ENTITY/PROJECT", help="put the report into W&B Reports as well"
    )
    p.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="default: runs")
    p.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="default: results")
    return p


def run(options: argparse.Namespace) -> int:
    """Do what was asked; ConfigError for bad input."""
    from reports import choose

    if options.list:
        print("\n".join(choose.listing(options.runs)))
        return 0
    if options.all:
        if options.name or options.publish:
            raise ConfigError("--all takes neither a name nor --publish; leave out one of them")
        return every(options)
    manifest, how = choose.manifest(options.name, options.runs)
    if how:
        print(how)
    return single(manifest, options)


def single(manifest: Manifest, options: argparse.Namespace) -> int:
    """Make (or check) the report of one manifest."""
    from reports import choose, sources
    from reports.numbers import join as collect
    from reports.pages.folder import report_files
    from reports.sections import compose

    frames = sources.load(options.source, options.runs, manifest)
    collected = collect.collect(manifest, choose.study(manifest.study), frames)
    report = compose.compose(collected, again(options, manifest.name))
    code = put(options, options.out / manifest.name, report_files(report))
    print(report.status)
    if not options.check:
        print(f"{options.out / manifest.name / 'report.md'}\n{options.out / manifest.name / 'report.html'}")
    if options.publish:
        from reports.pages.markdown import markdown
        from reports.publish import publish

        print(publish(markdown(report), options.publish, manifest))
    return code


def every(options: argparse.Namespace) -> int:
    """Make (or check) the reports of all sweeps, and the index of them and of the studies not started."""
    from reports import choose, sources
    from reports.numbers import join as collect
    from reports.pages.folder import page_files, report_files
    from reports.sections import compose, index

    manifests = choose.every(options.runs)
    frames = sources.load(options.source, options.runs, None)
    collected, code = [], 0
    for manifest in manifests:
        collected.append(collect.collect(manifest, choose.study(manifest.study), frames))
        report = compose.compose(collected[-1], again(options, manifest.name))
        code = max(code, put(options, options.out / manifest.name, report_files(report)))
    waiting = [
        (name, choose.study(name)) for name in studies.names() if name not in {m.study for m in manifests}
    ]
    report = index.index(
        collected, [(name, study) for name, study in waiting if study], again(options, "--all")
    )
    code = max(code, put(options, options.out, page_files(report, "index")))
    print(report.status)
    if not options.check:
        print(f"{options.out / 'index.md'}\n{options.out / 'index.html'}")
    return code


def put(options: argparse.Namespace, folder: Path, contents: dict[str, str]) -> int:
    """Write a folder, or with --check say what is out of date in it: exit code 1 then."""
    from reports.pages import folder as files

    if not options.check:
        files.write(folder, contents)
        return 0
    found = files.differing(folder, contents)
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


def again(options: argparse.Namespace, what: str) -> str:
    """The command that makes this report again; folders only where one can type them elsewhere too."""
    words = ["python", "-m", "reports", what]
    for key, default in (("runs", Path("runs")), ("out", Path("results"))):
        folder = getattr(options, key)
        if folder != default and not folder.is_absolute():
            words += [f"--{key}", str(folder)]
    if options.source != "records":
        words += ["--source", options.source]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
