"""The product's commands, many a second: a process that has imported them, and forks itself for each command line.

Standard input: one line of JSON for each command, [words, folder, environment added]. Standard output: its exit code.
The folder's files `stdout` and `stderr` hold what it said; it runs in the sub-folder `here`. A child runs the
command's own file as `__main__`, so that nothing but the imports is shared, and ends as the interpreter would, but
without taking apart what was imported: that takes 0.2 s.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("ablations", "reports", "slurm")


def become(words: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Be the command, in its folder."""
    for descriptor, name in enumerate(("stdout", "stderr"), start=1):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder / "here")
    os.environ.update(environment)
    sys.argv = list(words)
    if words[0] == "run.py":
        sys.argv[0] = str(ROOT / "run.py")
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def run(words: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Be the command; its exit code."""
    code: object = None
    try:
        become(words, folder, environment)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return (code & 0xFF) if isinstance(code, int) else int(code is not None)


def serve() -> None:
    """Answer until standard input ends."""
    sys.path.insert(0, str(ROOT))
    import ablations.__main__  # noqa: F401
    import hydra_plugins.residual_ablations  # noqa: F401
    import reports.__main__  # noqa: F401
    import run as door  # noqa: F401
    import slurm.__main__  # noqa: F401

    for module in MODULES:  # runpy warns of it
        del sys.modules[f"{module}.__main__"]
    while line := sys.stdin.readline():
        words, folder, environment = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(run(words, Path(folder), environment))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code if code >= 0 else 128 - code, flush=True)


if __name__ == "__main__":
    serve()
