"""What several processes cost: one all-reduce of an RBM's gradient by gloo, beside one process's update; and updates of
both together, with chains that wait for the sum and with chains that move while it travels (``ahead``).

Two processes on one machine share its cores and memory, so the all-reduce is an upper bound for one over shared memory
and says nothing of a network. docs/developer/scaling.md uses both numbers.

    python benchmarks/two_processes.py [--rounds 30]
"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from _measure import interleaved, parser, set_up

from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.training.processes import Processes
from deepbelief.types import Batch

SHAPES = [(784, 500), (784, 4096)]
BATCH = 100


def update_seconds(n_visible: int, n_hidden: int, rounds: int) -> float:
    """The median of one PCD-1 update of this process's own batch, without any other process."""
    generator = make_generator(0)
    rbm = RBM(n_visible, n_hidden, generator=generator)
    rule = make_procedure(rbm, LearningSettings(n_chains=BATCH, epochs=1))
    x = (torch.rand(BATCH, n_visible, generator=generator) < 0.3).float()
    rule.start(Batch(x), generator)
    times = []
    for step in range(rounds + 3):
        start = time.perf_counter()
        rule.step(Batch(x), StepContext(step, 0, 0.5, generator, lambda tensors: None, nullcontext))
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def together_seconds(n_visible: int, n_hidden: int, rounds: int) -> dict[bool, float]:
    """The medians of one update of both processes, chains waiting (False) and ahead (True), in turns."""
    processes, ways = Processes(torch.device("cpu"), dist.get_rank(), 2), {}
    x = (torch.rand(BATCH, n_visible, generator=make_generator(dist.get_rank())) < 0.3).float()
    for ahead in (False, True):
        generator = make_generator(0)
        rbm = RBM(n_visible, n_hidden, generator=generator)
        rule = make_procedure(rbm, LearningSettings(n_chains=2 * BATCH, epochs=1, ahead=ahead))
        rule.start(Batch(x), generator, rank=processes.rank, world_size=2)
        ways[ahead] = partial(_one_update, rule, x, processes, generator)
    seconds = interleaved(ways, rounds)
    return {ahead: statistics.median(times) for ahead, times in seconds.items()}


def _one_update(rule: Any, x: torch.Tensor, processes: Processes, generator: torch.Generator) -> None:
    context = StepContext(0, 0, 0.5, generator, processes.average, nullcontext, processes.rank, 2)
    rule.step(Batch(x), context)


def reduce_seconds(n: int, rounds: int) -> float:
    """The median of one all-reduce of `n` floats, after a barrier."""
    values, times = torch.ones(n), []
    for _ in range(rounds + 3):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(values)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def work(rank: int, port: int, rounds: int) -> None:
    """One of two processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for n_visible, n_hidden in SHAPES:
        alone = update_seconds(n_visible, n_hidden, rounds)
        size = n_visible * n_hidden + n_visible + n_hidden
        together = reduce_seconds(size, rounds)
        both = together_seconds(n_visible, n_hidden, rounds)
        if rank == 0:
            print(
                f"RBM {n_visible}-{n_hidden}, batch {BATCH} a process: update {1e3 * alone:.2f} ms, "
                f"all-reduce of {4 * size / 1e6:.1f} MB {1e3 * together:.2f} ms, ratio {together / alone:.2f}"
            )
            print(
                f"  an update of both: chains wait {1e3 * both[False]:.2f} ms, chains ahead {1e3 * both[True]:.2f} ms, "
                f"ratio {both[True] / both[False]:.2f}"
            )
    dist.destroy_process_group()


def main() -> None:
    """Start the two processes."""
    options = parser("The cost of one all-reduce beside one update", 30).parse_args()
    set_up(1)
    mp.spawn(work, args=(29_000 + os.getpid() % 1000, options.rounds), nprocs=2)


if __name__ == "__main__":
    main()
