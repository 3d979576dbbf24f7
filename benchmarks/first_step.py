"""A fresh process, part by part: the imports, the first `fit` of an RBM 784-500 (one update), and the same once more.

python benchmarks/first_step.py [--rounds 5]
"""

from __future__ import annotations

import json
import subprocess
import sys

from _measure import parser, print_table, set_up

LIMIT = "limit: import torch"
PARTS = (LIMIT, "then: from deepbelief import RBM", "then: the first fit, one update", "then: the same again")
PROCESS = """
import json, time
marks = [time.perf_counter()]
def mark(): marks.append(time.perf_counter())
import torch; mark()
from deepbelief import RBM; mark()
import numpy as np
x = (np.random.default_rng(0).random((100, 784)) < 0.3).astype("f4")
for _ in range(2):
    RBM(500, epochs=1, batch_size=100, random_state=0).fit(x); mark()
print(json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""


def main() -> None:
    """Measure whole processes, after one that warms the disk's cache."""
    options = parser("Seconds from a fresh process to the first update", 5).parse_args()
    set_up(options.threads)
    rounds = [seconds_of_parts() for _ in range(options.rounds + 1)][1:]
    seconds = dict(zip(PARTS, map(list, zip(*rounds, strict=True)), strict=True))
    print_table("A fresh process", seconds, limit=LIMIT, unit="s", scale=1)


def seconds_of_parts() -> list[float]:
    """What each part of one fresh process took."""
    told = subprocess.run([sys.executable, "-c", PROCESS], check=True, capture_output=True, text=True).stdout
    return [float(value) for value in json.loads(told)]


if __name__ == "__main__":
    main()
