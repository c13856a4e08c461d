"""The machine that is lent: what it needs from the kit that travels with the repository, and what it is."""

from __future__ import annotations

import os
import platform
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from benchmarks.gpu.plan import Plan
from lightning_module.support.mps import FOLDER, serve

ROOT = Path(__file__).resolve().parents[2]
FILE_LIMIT = 16 * 2**20 - 2**16
"""Bytes of a file that comes back."""
CARD = "name,memory.total,driver_version,clocks.max.sm,clocks.max.mem,power.limit,compute_mode"


def set_up(plan: Plan, kit: Path, base: Path) -> None:
    """Wheels, and the compiled kernels and unfinished cells that came back from an earlier call.

    kit: the folder that pack.sh filled; what came back lies in its folder `back`. base: a folder of this machine.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join([str(base / "site"), str(ROOT)])
    os.environ |= {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "passive"}
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(base / "compiled")
    wheels = [str(path) for path in sorted((kit / "wheels").glob("*.whl"))]
    if wheels and not (base / "site").exists():
        options = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target"]
        if not plan.quietly(sys.executable, "-m", "pip", "install", *options, str(base / "site"), *wheels):
            plan.say("the wheels could not be installed: see log.txt")
    for name in ("compiled", "runs"):
        if not (base / name).exists():
            (base / name).mkdir(parents=True)
            for archive in sorted((kit / "back").glob(f"{name}*.t*")):
                try:
                    with tarfile.open(archive) as file:
                        # Not every Python 3.11 knows extractall(filter=...); the archives are our own.
                        file.extraction_filter = getattr(tarfile, "data_filter", None)
                        file.extractall(base / name)
                except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
                    plan.say(f"{archive} cannot be unpacked: {error}")
    versions = f"Python {platform.python_version()}, torch {metadata.version('torch')}"
    plan.say(f"{versions}, {len(os.sched_getaffinity(0))} cores")
    plan.say(plan.quietly("nvidia-smi", f"--query-gpu={CARD}", "--format=csv", limit=20) or "no nvidia-smi")


def images(plan: Plan, kit: Path, base: Path) -> Path:
    """The folder for data.root, unpacked where the kit has a script for it."""
    scripts = sorted((kit / "images").glob("unpack*.py"))
    if not scripts:
        return kit / "images"
    if not (base / "data" / "cifar-10-batches-py" / "batches.meta").exists():
        (base / "data").mkdir(exist_ok=True)
        if not plan.quietly(sys.executable, str(scripts[0]), str(base / "data"), limit=120):
            plan.say("the images could not be unpacked: see log.txt")
    return base / "data"


def send_back(plan: Plan, folder: Path, files: list[Path], name: str) -> None:
    """Put files of a folder into the archive out/name, in place of the one before, if it is small enough."""
    part = plan.out / f"{name}.part"
    with tarfile.open(part, "w:gz" if name.endswith("gz") else "w") as archive:
        for file in files:
            with suppress(FileNotFoundError):  # a cell that is training has replaced or removed it
                archive.add(file, file.relative_to(folder))
    if part.stat().st_size <= FILE_LIMIT:
        part.replace(plan.out / name)
    else:
        plan.say(f"{name} does not come back: it has {part.stat().st_size / 2**20:.0f} MiB")
        part.unlink()


@contextmanager
def mps(plan: Plan) -> Iterator[bool]:
    """NVIDIA's MPS for all processes that are started within; False, and none, where no client can run under it."""
    with serve(["0"]):
        works = FOLDER in os.environ
        plan.say("MPS is on" if works else "MPS does not work here")
        yield works
