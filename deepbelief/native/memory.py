"""Freed memory that the process keeps, so that the next step need not ask the system for it again.

glibc gives what is free at the end of its heap back to the system, and a step that makes and drops a few arrays of one
or two megabytes then waits for fresh pages at each: 500 cases by 1,000 hidden units took 900 to 2,500 page faults an
update, a third of its time. How much may stay free follows the largest block that was ever freed, up to 32 MB, twice
which is kept. One such block, never touched, sets this once for all; other C libraries take no notice.
"""

from __future__ import annotations

from functools import cache

import torch

LARGEST = 32 * 2**20 - 2**16  # bytes: the largest block that glibc learns from, less what it keeps beside a block


@cache
def keep_freed_memory() -> None:
    """Let the process keep up to 64 MB that it has freed; costs microseconds, once."""
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")
