from __future__ import annotations

import multiprocessing
import time

from lightning_module.support.disk import Lock, is_held


def test_a_process_that_was_forked_does_not_keep_a_lock(tmp_path):
    with Lock(tmp_path):
        decodes_images = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        decodes_images.start()
        assert is_held(tmp_path / "lock")
    try:
        assert not is_held(tmp_path / "lock")
    finally:
        decodes_images.kill()
        decodes_images.join()
