"""Runs a compiled worker on several threads.

The workers release Python's lock and share one atomic task counter, so plain Python threads do: no threading layer of
numba is started, which leaves torch's thread count alone and lets any number of Python threads call at once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The helper threads of a process; a forked child gets its own, since threads do not survive a fork."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="dermomamba-scan")


def run(worker: Callable[..., None], tasks: int, *arguments: object) -> None:
    """Call ``worker(counter, *arguments)`` on as many threads as torch uses, and return when all tasks are done.

    Args:
        worker: a compiled function that takes task numbers from ``counter`` until they are used up.
        tasks: how many there are; no more threads than tasks are started.
        arguments: passed on.
    """
    counter = np.zeros(1, np.int64)
    helpers = min(torch.get_num_threads(), tasks) - 1
    waiting = [_pool(os.getpid()).submit(worker, counter, *arguments) for _ in range(helpers)]
    worker(counter, *arguments)
    for helper in waiting:
        if not helper.cancel():  # one that never started has nothing left to do
            helper.result()
