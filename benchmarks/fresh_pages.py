"""What it is worth that freed memory stays with the process: whole processes with and without, in turns.

python benchmarks/fresh_pages.py [--rounds 7]
"""

from __future__ import annotations

import json
import subprocess
import sys

from _measure import parser, print_table, set_up

WORK = ("CD-1, 784-1000, batch 500", "PCD-1, 784-1000, batch 500", "50 sweeps, 784-500, 1,000 chains", "AIS, same")
LIMIT = "freed memory stays"
PROCESS = """
import json, resource, sys, time
import deepbelief.native.memory as memory
if sys.argv[1] == "without":
    memory.keep_freed_memory = lambda: None  # before anything else has it
import torch
from contextlib import nullcontext
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.partition.ais import ais
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.types import Batch

torch.set_num_threads(int(sys.argv[2]))

def updates(learning):
    generator = make_generator(1)
    rbm, x = RBM(784, 1000, generator=generator), (torch.rand(500, 784, generator=make_generator(0)) < 0.3).float()
    rule = make_procedure(rbm, LearningSettings(learning=learning, n_chains=500, epochs=1, learning_rate=0.05))
    rule.start(Batch(x), generator)
    context = StepContext(0, 0, 0.5, generator, lambda tensors: None, nullcontext)
    return lambda: [rule.step(Batch(x), context) for _ in range(50)]

rbm = RBM(784, 500, generator=make_generator(2))
work = (
    updates("cd"),
    updates("pcd"),
    lambda: rbm.sample(1000, n_steps=50, generator=make_generator(3)),
    lambda: ais(rbm, betas=50, n_chains=1000, generator=make_generator(4)),
)
found = []
for run in work:
    run()
    faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    run()
    found.append((time.perf_counter() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / 50))
print(json.dumps(found))
"""


def main() -> None:
    """Measure whole processes, after one of each that is not counted."""
    options = parser("Milliseconds a step, with freed memory kept and given back", 7).parse_args()
    set_up(options.threads)
    seconds: dict[str, dict[str, list[float]]] = {name: {LIMIT: [], "it goes back": []} for name in WORK}
    faults: dict[str, list[float]] = {name: [0.0, 0.0] for name in WORK}
    for done in range(options.rounds + 1):
        for place, (way, word) in enumerate(((LIMIT, "with"), ("it goes back", "without"))):
            for name, (took, fresh) in zip(WORK, measured(word, options.threads), strict=True):
                if done:
                    seconds[name][way].append(took)
                    faults[name][place] += fresh / options.rounds
    for name in WORK:
        print_table(name, seconds[name], limit=LIMIT, per=50)
        print("  page faults a step: {:.0f} and {:.0f}".format(*faults[name]))


def measured(word: str, threads: int) -> list[tuple[float, float]]:
    """Seconds of 50 steps and faults of one step for each kind of work, in a process of its own."""
    command = [sys.executable, "-c", PROCESS, word, str(threads)]
    found: list[tuple[float, float]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


if __name__ == "__main__":
    main()
