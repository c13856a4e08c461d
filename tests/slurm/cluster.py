"""A real SLURM cluster on one machine: munge, slurmctld, four slurmd with fake GPUs, optionally accounting.

Everything lies in one temporary folder, listens on loopback at free ports, and ends with this process.
Each node has its own hostname (a UTS namespace), so that a node can crash and distributed jobs find each
other by name. By hand, from the repository: `python tests/slurm/cluster.py [none] -- COMMAND`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

Accounting = Literal["slurmdbd", "none"]
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd", "unshare", "setpriv")
INSTALL = "apt-get install -y --no-install-recommends $(cat tests/slurm/packages.txt)"
NODES, CPUS, GPUS = 4, 4, 2
HELD_SECONDS = 3.0

# Short timeouts, for tests; a site's usual value in brackets.
SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
CredType=cred/munge
# Without these two every daemon binds 0.0.0.0.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
# Let 4 x 4 CPUs exceed what the machine has.
SlurmdParameters=config_overrides
DefMemPerCPU=500
GresTypes=gpu
# [1001] a sweep of 7 cells needs two arrays
MaxArraySize=6
# A job in "high" requeues one in "batch", which gets SIGCONT and SIGTERM and nothing else, then GraceTime.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
# [300] a node is DOWN this long after its slurmd stops answering
SlurmdTimeout=10
# [0] a node that comes back is used again without an operator
ReturnToService=2
# [30] SIGTERM to SIGKILL
KillWait=10
UnkillableStepTimeout=20
# [300] without accounting a job is forgotten while the sweep still runs
MinJobAge={job_age}
BatchStartTimeout=10
{accounting}
{nodes}
PartitionName=batch Nodes=node[1-{count}] Default=YES MaxTime=1-00:00:00 PriorityTier=1 GraceTime=20
PartitionName=small Nodes=node{count} PriorityTier=1 GraceTime=20
PartitionName=high Nodes=node[1-{count}] PriorityTier=10 PreemptMode=OFF
"""
ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[2]}
# Connections to slurmdbd do not read AuthInfo.
AccountingStoragePass={root}/run/munge.sock
AccountingStorageTRES=gres/gpu
# A strict site: who has no association, or names a wckey that is not theirs, is refused; so is a job beyond a limit.
AccountingStorageEnforce=associations,limits,qos,wckeys
TrackWCKey=yes
"""
USERS = ("root", "nobody")
"""Who has an association; the wckeys of each are "bench" (the default) and "other"."""

SLURMDBD_CONF = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[2]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[3]}
StorageLoc=slurm_acct_db
StorageUser=slurm
TrackWCKey=yes
StoragePass=slurm
"""
DATABASE = """
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'; GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
"""


def unavailable() -> str:
    """Why no cluster can run here, as a sentence that says what to do; empty if one can."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        return f"no SLURM to test on ({', '.join(missing)} missing): as root, {INSTALL}"
    if os.geteuid():
        return "the SLURM test cluster gives each node a hostname and GPU devices: run the tests as root"
    return ""


def until(what: str, check: Callable[[], bool], seconds: float) -> None:
    """Wait until `check()` holds; TimeoutError that names `what` otherwise."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds:.0f} s")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, below the range from which outgoing connections take theirs."""
    ports: list[int] = []
    start = 17000 + 97 * os.getpid() % 12000  # another range than a cluster that starts beside it
    for port in range(start, start + 3000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports")


class Cluster:
    """`with Cluster() as cluster:` takes jobs; `cluster.environment` makes commands find it."""

    def __init__(self, accounting: Accounting = "slurmdbd") -> None:
        self.accounting = accounting
        self.root = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.environment = {**os.environ, "SLURM_CONF": f"{self.root}/etc/slurm.conf"}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._held: dict[str, float] = {}

    def run(self, *command: str, seconds: float = 60) -> str:
        """Standard output of a command on the cluster; its failure is a CalledProcessError."""
        done = subprocess.run(
            command, env=self.environment, timeout=seconds, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def succeeds(self, *command: str) -> bool:
        """Whether a command ends with 0."""
        return not subprocess.run(command, env=self.environment, capture_output=True).returncode

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self._daemons:
            # Jobs first: what they started outlives slurmd.
            with contextlib.suppress(subprocess.TimeoutExpired, subprocess.CalledProcessError, TimeoutError):
                self.run("scancel", "--user=root", seconds=10)
                until("end of all jobs", lambda: not self.run("squeue", "-h", seconds=10), 20)
        nodes = [name for name in self._daemons if name.startswith("node")]
        for name in (*nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"):
            if name in self._daemons:
                self._stop(name)
        shutil.rmtree(self.root, ignore_errors=True)

    def _daemon(self, name: str, *command: str) -> None:
        with open(self.root / "log" / f"{name}.out", "ab") as log:
            # The kernel ends a daemon when the tests end, however they end.
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", *command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop(self, name: str) -> None:
        process = self._daemons.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write_configuration(self) -> None:
        for folder in ("etc", "run", "log", "spool", "state", "dev", "mysql"):
            (self.root / folder).mkdir(parents=True)
        self.root.chmod(0o755)
        self.ports = ports = free_ports(4 + NODES)
        names = [f"node{index}" for index in range(1, NODES + 1)]
        shape = f"CPUs={CPUS} Sockets=1 CoresPerSocket={CPUS} ThreadsPerCore=1 RealMemory=8192"
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} {shape} "
            f"Gres=gpu:fake:{GPUS} State=UNKNOWN"
            for name, port in zip(names, ports[4:], strict=True)
        )
        accounting = "AccountingStorageType=accounting_storage/none"
        if self.accounting == "slurmdbd":
            accounting = ACCOUNTING.format(root=self.root, ports=ports)
        text = SLURM_CONF.format(
            root=self.root,
            host=socket.gethostname(),
            ports=ports,
            nodes=nodes,
            count=NODES,
            accounting=accounting,
            job_age=10 if self.accounting == "none" else 3600,
        )
        (self.root / "etc/slurm.conf").write_text(text)
        # SLURM wants character devices: from plain files CUDA_VISIBLE_DEVICES comes out empty.
        for index in range(GPUS):
            os.mknod(self.root / f"dev/gpu{index}", 0o666 | 0o020000, os.makedev(1, 3))
        gres = f"NodeName=node[1-{NODES}] Name=gpu Type=fake File={self.root}/dev/gpu[0-{GPUS - 1}]"
        (self.root / "etc/gres.conf").write_text(f"AutoDetect=off\n{gres}\n")
        (self.root / "etc/slurmdbd.conf").write_text(SLURMDBD_CONF.format(root=self.root, ports=ports))
        (self.root / "etc/slurmdbd.conf").chmod(0o600)
        (self.root / "etc/munge.key").write_bytes(os.urandom(128))
        (self.root / "etc/munge.key").chmod(0o600)
        # A node's slurmd listens on, and ranks of a job find each other at, what its hostname resolves to.
        known = Path("/etc/hosts").read_text()
        with open("/etc/hosts", "a") as hosts:
            hosts.writelines(f"127.0.0.1 {name}\n" for name in names if f"127.0.0.1 {name}\n" not in known)

    def _start(self) -> None:
        self._write_configuration()
        munge = f"{self.root}/run/munge.sock"
        self._daemon(
            "munged",
            *(
                "munged",
                "--foreground",
                "--force",
                f"--key-file={self.root}/etc/munge.key",
                f"--socket={munge}",
            ),
            *(f"--pid-file={self.root}/run/munged.pid", f"--seed-file={self.root}/run/munged.seed"),
        )
        until("munged", lambda: self.succeeds("munge", "-n", "-S", munge), 10)
        if self.accounting == "slurmdbd":
            self._start_accounting()
            self._add_users()
        self._daemon("slurmctld", "slurmctld", "-D")
        for index in range(1, NODES + 1):
            self.start_node(f"node{index}")
        self.await_nodes()

    def _start_accounting(self) -> None:
        data, socket_path = f"--datadir={self.root}/mysql", f"--socket={self.root}/run/mysql.sock"
        scratch = f"--tmpdir={self.root}/run"  # a server that starts removes the others' files there
        authentication = "--auth-root-authentication-method=normal"
        command = (
            "mariadb-install-db",
            "--no-defaults",
            "--user=root",
            data,
            scratch,
            "--skip-test-db",
            authentication,
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        self._daemon(
            "mariadbd",
            *(
                "mariadbd",
                "--no-defaults",
                "--user=root",
                data,
                scratch,
                socket_path,
                f"--port={self.ports[3]}",
            ),
            *(f"--pid-file={self.root}/run/mariadbd.pid", "--bind-address=127.0.0.1"),
            *(
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=16M",
                "--innodb-lock-wait-timeout=900",
            ),
            "--innodb-flush-log-at-trx-commit=0",
        )
        client = ("--no-defaults", "-uroot", socket_path)
        until("mariadbd", lambda: self.succeeds("mariadb-admin", *client, "ping"), 30)
        self.run("mariadb", *client, "-e", DATABASE)
        self._daemon("slurmdbd", "slurmdbd", "-D")
        until("slurmdbd", lambda: self.succeeds("timeout", "5", "sacctmgr", "-n", "list", "cluster"), 30)

    def _add_users(self) -> None:
        self.run("sacctmgr", "-i", "add", "cluster", "test")
        self.run("sacctmgr", "-i", "add", "account", "lab", "Description=lab", "Organization=lab")
        for user in USERS:
            self.run(
                "sacctmgr",
                "-i",
                "add",
                "user",
                user,
                "Account=lab",
                "WCKeys=bench,other",
                "DefaultWCKey=bench",
            )

    def limit(self, jobs: int, user: str = "root") -> None:
        """Let a user have so many jobs waiting and running; -1 lifts the limit."""
        self.run("sacctmgr", "-i", "modify", "user", user, "set", f"MaxSubmitJobs={jobs}")

    def await_nodes(self, seconds: float = 60) -> None:
        """Wait until every node can take jobs."""

        def ready() -> bool:
            # "idle*" (with a star) is a node that slurmctld has not heard from yet.
            states = self.run("sinfo", "-h", "-p", "batch", "-N", "-o", "%T").split()
            return len(states) == NODES and set(states) <= {"idle", "mixed", "allocated"}

        until("all nodes", ready, seconds)

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        script = 'hostname "$0"; exec slurmd -D -N "$0"'
        self._daemon(name, "unshare", "--uts", "sh", "-c", script, name)

    def crash_node(self, name: str) -> None:
        """Power off: SIGKILL its slurmd and everything it started."""
        process = self._daemons.pop(name)
        namespace = os.readlink(f"/proc/{process.pid}/ns/uts")
        if namespace == os.readlink("/proc/self/ns/uts"):
            raise RuntimeError(f"{name} has not started yet")
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(folder / "ns/uts") == namespace:
                    os.kill(int(folder.name), signal.SIGKILL)
        process.wait()

    def kill_slurmd(self, name: str) -> None:
        """SIGKILL the slurmd of a node; the jobs on it go on."""
        process = self._daemons.pop(name)
        process.kill()
        process.wait()

    def hurry(self) -> None:
        """Start requeued jobs after three seconds; SLURM holds them back for two minutes.

        Not at once: the end of the last attempt may still be on its way to the controller, which would take it for
        that of the next.
        """
        for line in self.run("squeue", "-h", "-t", "PD", "-r", "-o", "%i %r").splitlines():
            job, reason = line.split(maxsplit=1)
            if reason != "BeginTime":
                self._held.pop(job, None)
            elif time.monotonic() > self._held.setdefault(job, time.monotonic()) + HELD_SECONDS:
                self.succeeds("scontrol", "update", f"jobid={job}", "StartTime=now")

    def send(self, name: str, job: str) -> None:
        """Send a signal to the ranks of a job.

        To their step: SLURM 22.05 takes no signal for element 2_1 while others of array 2 are pending.
        """
        self.run("scancel", f"--signal={name}", f"{job}.0")

    def log(self) -> str:
        """What the controller said, for the message of a failed test."""
        return (self.root / "log/slurmctld.log").read_text()


@contextlib.contextmanager
def cluster(accounting: Accounting = "slurmdbd") -> Iterator[Cluster]:
    """A cluster, with the environment of this process (and so of its children) pointing at it."""
    with Cluster(accounting) as running:
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = running.environment["SLURM_CONF"]
        try:
            yield running
        finally:
            if before is None:
                del os.environ["SLURM_CONF"]
            else:
                os.environ["SLURM_CONF"] = before


if __name__ == "__main__":
    arguments, command = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    if unavailable():
        sys.exit(unavailable())
    with cluster("none" if "none" in arguments else "slurmdbd"):
        sys.exit(subprocess.run(command).returncode)
