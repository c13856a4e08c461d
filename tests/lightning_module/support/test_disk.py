from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Event

from lightning_module.support.disk import Lock, is_held


def decode_images(begun: Event) -> None:
    begun.set()
    time.sleep(60)


def test_a_process_that_was_forked_does_not_keep_a_lock(tmp_path):
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()
    with Lock(tmp_path):
        worker = fork.Process(target=decode_images, args=(begun,))
        worker.start()
        assert begun.wait(60)
        assert is_held(tmp_path / "lock")
    try:
        assert not is_held(tmp_path / "lock")
    finally:
        worker.kill()
        worker.join()
