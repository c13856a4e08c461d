"""The first file that a SLURM task runs: it takes the signals before anything slow is imported.

A signal that comes while Python imports torch would end the rank, and with it the job. From here on it is
remembered, and the training loop finds it. What comes after the ranks ignores signals, as the batch script does
then, so that the commands that it calls ignore them too; so does what decides a round, which takes seconds.
Run as a script: python slurm/start.py run|after ARRAY, or settle FOLDER.
"""

import signal
import sys

received: list[int] = []
_is_rank = "run" in sys.argv[1:2]
for _number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
    signal.signal(_number, (lambda n, _: received.append(n)) if _is_rank else signal.SIG_IGN)

if __name__ == "__main__":
    from pathlib import Path

    # The snapshot that holds this file, not a checkout that happens to be installed.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from lightning_module.support.program import start_program
    from slurm import job

    start_program()
    status = job.main(sys.argv[1:], received)
    for _number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        # Python gives handlers back before it has ended; a signal then would change the exit code.
        signal.signal(_number, signal.SIG_IGN)
    sys.exit(status)
