"""Memory that a step frees is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, torch
{first}
grown = lambda i: torch.ones(2**18 + 2**12 * i)  # 1 MB, and 4 pages more each time
for i in range(5):
    grown(i)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(5, 25):
    grown(i)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what other C libraries keep is theirs to choose")
def test_a_step_takes_no_fresh_pages() -> None:
    """Arrays of 256 pages and more, each dropped at once; glibc maps anew what is larger than all freed before."""
    found = []
    for first in ("from deepbelief.native.library import library; library()", ""):
        done = subprocess.run(
            [sys.executable, "-c", STEPS.format(first=first)], capture_output=True, text=True, check=True, timeout=120
        )
        found.append(int(done.stdout))
    assert found[0] < 20 * 256 / 2  # it may have grown for what came before, and be cut back once or twice
    assert found[1] > 20 * 256
