"""What becomes of a job when its tasks have ended."""

from __future__ import annotations

import re
from typing import Any

import pytest

from slurm.store import CHECKPOINT, of_job, settled, unfit_nodes
from slurm.verdict import Evidence, cause, decide_job, last_line, signature, stalled

CODE = (
    'Traceback (most recent call last):\n  File "x.py", line 3, in f\nZeroDivisionError: division by zero\n'
)
PEER = "Traceback:\nRuntimeError: [gloo/tcp/pair.cc:1] Connection closed by peer [1.2.3.4]\n"
NODE = "Traceback (most recent call last):\nslurm.job.NodeFault: node3 has no GPU that PyTorch can use\n"
ECC = (
    "Traceback (most recent call last):\ntorch.AcceleratorError: CUDA error: uncorrectable ECC error encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call.\n"
)
STALE = "Traceback (most recent call last):\nOSError: [Errno 116] Stale file handle: '/data/cifar.bin'\n"
MEMORY = "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate\n"
NO_SPACE = "Traceback (most recent call last):\nOSError: [Errno 28] No space left on device: '/tmp/x'\n"
SHORT_WRITE = "Traceback (most recent call last):\nRuntimeError: unexpected pos 64 vs 0\n"
NO_MODULE = (
    b"/var/spool/job00005/slurm_script: line 35: module: no such module: cuda/99\n"
    b"srun: error: node1: task 0: Exited with exit code 127\n"
    b"slurmstepd-node1: error: *** STEP 3.0 ON node1 CANCELLED AT 2026-11-29T07:00:13 ***\n"
)
NO_CONTROLLER = b"srun: error: Unable to confirm allocation for job 7: Unable to contact slurm controller\n"
SAID_BY_MODULE = r"the set-up failed \(code 127\): module: no such module: cuda/99 \(log: .*\)"


def start(saved: float = 0.0) -> dict[str, Any]:
    """A line of a job's history. saved: when its checkpoint was saved last."""
    return {"event": "start", "job": "7_0", "saved": saved}


def end(saved: float = 0.0, action: str = "requeue") -> dict[str, Any]:
    """As `start`, of its end."""
    return {"event": "end", "job": "7_0", "action": action, "saved": saved}


def evidence(**changes: Any) -> Evidence:
    """An interrupted job, but for the changes."""
    usual: dict[str, Any] = {
        "state": "killed",
        "errors": {},
        "nodes": ["node3", "node4"],
        "mine": True,
        "job": {"JobState": "RUNNING", "Restarts": "0"},
        "restart": 0,
        "history": [start()],
        "saved": 0.0,
        "unfit": [],
        "exit_code": 0,
        "oom": False,
        "max_requeues": 3,
    }
    return Evidence(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "action", "words"),
    [
        ({"state": "finished"}, "done", "finished"),
        ({"state": "diverged", "exit_code": 1}, "done", "diverged"),
        ({}, "requeue", "interrupted"),
        ({"exit_code": 137}, "requeue", "a rank died"),
        ({"state": "failed", "errors": {0: CODE}, "exit_code": 1}, "fail", "division by zero"),
        # Rank 0 sees only that rank 1 is gone: its own error is a consequence.
        ({"state": "failed", "errors": {0: PEER, 1: CODE}, "exit_code": 1}, "fail", "division by zero"),
        ({"state": "failed", "errors": {0: PEER}, "exit_code": 137}, "requeue", "a rank died"),
        ({"errors": {1: MEMORY}, "exit_code": 1}, "fail", "out of memory"),
        ({"exit_code": 137, "oom": True}, "fail", "hydra.launcher.mem"),
        ({"errors": {0: NODE}, "exit_code": 1}, "elsewhere", "node3 has no GPU"),
        ({"state": "failed", "errors": {0: ECC}, "exit_code": 1}, "elsewhere", "uncorrectable ECC"),
        ({"errors": {1: STALE}, "exit_code": 1}, "elsewhere", "Stale file handle"),
        ({"job": {"JobState": "CANCELLED", "Restarts": "0"}}, "leave", "CANCELLED"),
        ({"job": {"JobState": "RUNNING", "Restarts": "1"}}, "leave", "RUNNING"),
        ({"job": {}}, "leave", "unknown"),
        ({"mine": False}, "leave", "another job"),
        (
            {"history": [start(), end()] * 3 + [start()], "exit_code": 137},
            "fail",
            "no progress in 4 starts.*want of memory",
        ),
        ({"history": [start(), end()] * 2 + [start()]}, "requeue", "interrupted"),
        ({"started": False, "exit_code": 127, "log": NO_MODULE}, "fail", SAID_BY_MODULE),
        ({"started": False, "exit_code": 0}, "fail", "the set-up failed .code 0.: it said nothing"),
        ({"started": False, "exit_code": 1, "log": NO_CONTROLLER}, "requeue", "a rank died"),
        # A signal before Python had started: somebody wants the job to stop.
        ({"started": False, "exit_code": 138}, "requeue", "a rank died"),
        ({"full": "/runs", "exit_code": 1}, "fail", "no space left on /runs; what was saved is whole"),
        ({"full": "/runs", "errors": {0: SHORT_WRITE}, "exit_code": 1}, "fail", "no space left on /runs"),
        ({"errors": {0: NO_SPACE}, "exit_code": 1}, "fail", "^No space left on device: OSError.*/tmp/x"),
        ({"late": True, "exit_code": 75}, "requeue", "raise hydra.launcher.signal_seconds"),
    ],
)
def test_policy(changes: dict[str, Any], action: str, words: str) -> None:
    decision = decide_job(evidence(**changes))
    assert decision.action == action
    assert re.search(words, decision.why)


@pytest.mark.parametrize(
    ("unfit", "rank", "action", "words"),
    [
        ([], 1, "elsewhere", "node3 has no GPU"),
        (["node1"], 0, "elsewhere", "node3 has no GPU"),
        (["node1", "node2"], 0, "fail", r"the same on 3 nodes \(node1, node2, node3\)"),
        # The job came back to where it had been: one node has a fault, not three.
        (["node3", "node3"], 0, "elsewhere", "has no GPU.*SLURM did not keep the job off node3"),
        (["node1", "node3"], 0, "elsewhere", "has no GPU.*SLURM did not keep the job off node3"),
        (["node3", "node3", "node3"], 0, "fail", "4 times.* does not keep the job off node3"),
    ],
)
def test_nodes_with_a_fault_are_counted_not_faults(
    unfit: list[str], rank: int, action: str, words: str
) -> None:
    decision = decide_job(evidence(errors={rank: NODE}, unfit=unfit))
    assert (decision.action, decision.unfit) == (action, ["node3", "node4"][rank] * (action == "elsewhere"))
    assert re.search(words, decision.why)


def test_two_nodes_with_a_fault_are_no_node_that_slurm_sends_the_job_back_to() -> None:
    decision = decide_job(evidence(errors={0: NODE}, unfit=["node1"], max_requeues=1))
    assert decision.action == "elsewhere"


def test_another_submission_counts_nodes_anew() -> None:
    ends = [
        {"event": "end", "job": job, "action": "elsewhere", "unfit": node}
        for job, node in (("7_0", "node1"), ("7_0", "node2"), ("9_0", "node4"))
    ]
    assert unfit_nodes(of_job([{"event": "start", "job": "9_0"}, *ends], "9_0")) == ["node4"]


def test_a_failed_cell_is_tried_again_when_its_job_is_requeued_by_hand_but_not_for_its_siblings() -> None:
    failed = [start(), end(), start(), end(action="fail")]
    assert settled(of_job(failed, "7_0"))
    over = {"event": "over", "job": "7_0"}
    assert not settled(of_job([*failed, over], "7_0"))
    assert of_job([*failed, over, start(5.0)], "7_0") == [start(5.0)], "what came before is not counted"


def test_the_checkpoint_is_where_training_leaves_it() -> None:
    from lightning_module.training import checkpoint

    assert checkpoint.FILE == CHECKPOINT


BAD = [{**line, "job": "5_0"} for _ in range(5) for line in (start(), end())]
"""Five starts of an earlier submission that came to nothing."""


@pytest.mark.parametrize(
    ("history", "saved", "most"),
    [
        # retry after five bad starts; then six epochs and a clean USR2
        ([*BAD, start()], 60.0, 5),
        # one SIGKILL while Python imports; then eight good epochs
        ([end(), start()], 80.0, 1),
        ([start(), end(), start()], 80.0, 1),
        # hard preemptions during import, of which only the starts are known; then a rank dies
        ([start()] * 7, 0.0, 5),
        # it had saved before a node was lost with it
        ([start(), end(), start(), start(10.0)], 10.0, 1),
        # a checkpoint of long ago is no progress, but one start without any is allowed
        ([start(3.0)], 3.0, 1),
    ],
)
def test_a_healthy_cell_is_not_given_up(history: list[dict[str, Any]], saved: float, most: int) -> None:
    seen = evidence(history=of_job(history, "7_0"), saved=saved, max_requeues=most, exit_code=137)
    assert decide_job(seen).action == "requeue"


def test_starts_without_a_checkpoint_of_their_own_are_counted() -> None:
    assert stalled([], 0.0) == 1
    assert stalled([end(), end()], 0.0) == 3, "killed before it could note its start"
    assert stalled([start(7.0), end(7.0), start(7.0)], 7.0) == 2
    assert stalled([start(), end(), start(), end(7.0), start(7.0), end(7.0), start(7.0)], 7.0) == 2
    assert stalled([start(7.0), end(7.0), start(), end()], 0.0) == 3, "a checkpoint that was set aside"


@pytest.mark.parametrize("code", [138, 140, 143])
def test_starts_that_were_told_to_stop_before_there_was_a_rank_are_not_counted(code: int) -> None:
    told = {**end(), "code": code}
    seen = evidence(history=[told] * 9, exit_code=code, max_requeues=1, started=False)
    assert decide_job(seen).action == "requeue"
    assert stalled([told, end(), {**end(), "code": 137}], 0.0) == 3


def test_what_an_error_says() -> None:
    assert cause({0: PEER}) is None
    assert cause({0: PEER, 1: CODE}) == (1, CODE)
    assert last_line(CODE + "\nSet X=1 for a hint.\n") == "ZeroDivisionError: division by zero"
    other = CODE.replace("x.py", "/snapshot/x.py").replace("division by zero", "12 / 0 in cell 3c58c2")
    assert signature(CODE) == signature(other)
    assert signature(CODE) != signature(CODE.replace("line 3", "line 4"))


def test_failed_set_ups_are_alike_whatever_their_logs_say() -> None:
    one, other = (
        decide_job(evidence(started=False, exit_code=1, log=log)).traceback
        for log in (b"node1: no such module\n", b"node2: python: not found\n")
    )
    assert one != other
    assert signature(one) == signature(other) != signature("")
