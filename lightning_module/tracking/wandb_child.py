"""The process in which wandb runs: it does what wandb_process.py asks on a socket, and ends when that is closed.

    python -P wandb_child.py FILE_DESCRIPTOR PARENT

Nothing but wandb and the standard library is imported here, so that it works with whatever wandb there is:
settings that a version does not know are left out. One run at a time, as many as wanted.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

TOLD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What a scheduler sends to every process of a job; when this one ends, the parent says."""


def _open(wandb: Any, settings: dict[str, Any], arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A new run, and what the other side wants to know of it."""
    known = wandb.Settings.model_fields
    chosen = wandb.Settings(**{key: value for key, value in settings.items() if key in known})
    run = wandb.init(**arguments, settings=chosen)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    known = dict(run.summary).get("epoch")  # what a server already has of it; offline nothing
    run.summary["status"] = "running"
    return run, {"url": "" if run.offline else run.url or "", "known": known if isinstance(known, int) else 0}


def _end_with(parent: int) -> None:
    """End when the parent has: a child that it forked may hold the socket open."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Answer each line with one, but for `log` and `summary`, which answer only what went wrong."""
    for number in TOLD:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    connection = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)  # or wandb's own process would keep it open
    run: Any = None

    def say(answer: dict[str, Any]) -> None:
        connection.sendall(json.dumps(answer).encode() + b"\n")

    def fail(kind: str, error: Exception) -> NoReturn:
        say({"error": str(error) or type(error).__name__, "kind": kind})
        os._exit(1)

    try:
        import wandb
    except Exception as error:
        fail("import", error)
    say({"version": wandb.__version__})
    for line in connection.makefile("rb"):
        told = json.loads(line)
        try:
            match told["do"]:
                case "open":
                    run, answer = _open(wandb, told["settings"], told["arguments"])
                    say(answer)
                case "log":
                    run.log(told["row"])
                case "summary":
                    run.summary.update(told["values"])
                case "finish":
                    run.finish(exit_code=told["exit_code"])
                    wandb.teardown()  # before it, the last lines may not be in the file yet
                    say({})
        except Exception as error:  # the first is the last: the other side would not trust what comes after
            fail("value" if isinstance(error, ValueError) else "", error)
    os._exit(0)  # wandb's own end would wait for the network


if __name__ == "__main__":
    main()
