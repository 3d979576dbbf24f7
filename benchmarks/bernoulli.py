"""What a Bernoulli draw costs: `torch.bernoulli`, the library's comparison with uniform numbers, and the bare uniforms.

Prints nanoseconds per element on one thread: medians of interleaved rounds, so that a busy neighbour slows all alike.

    python benchmarks/bernoulli.py [--rounds 200]
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from _measure import interleaved, parser, set_up

from deepbelief.rng import bernoulli, make_generator, uniform_like

SHAPES = [(100, 500), (500, 1000)]


def ways(p: torch.Tensor, generator: torch.Generator) -> dict[str, Callable[[], object]]:
    """The draws to compare, by name: the peer, us, and the two parts that ours is made of."""
    u = torch.rand(p.shape, generator=generator)
    return {
        "torch.bernoulli": lambda: torch.bernoulli(p, generator=generator),
        "deepbelief.rng.bernoulli": lambda: bernoulli(p, generator),
        "limit: uniform numbers alone": lambda: uniform_like(p, generator),
        "comparison alone": lambda: (u < p).to(p.dtype),
    }


def nanoseconds(shape: tuple[int, int], rounds: int) -> dict[str, float]:
    """Median nanoseconds per element of each way, measured in turn."""
    generator = make_generator(0)
    p = uniform_like(torch.empty(shape), generator)
    seconds = interleaved(ways(p, generator), rounds)
    return {name: statistics.median(values) / p.numel() * 1e9 for name, values in seconds.items()}


def main() -> None:
    """Measure and print one table."""
    options = parser("Nanoseconds per Bernoulli draw", 200).parse_args()
    set_up(options.threads)
    columns = {shape: nanoseconds(shape, options.rounds) for shape in SHAPES}
    print(f"{'ns per element':30}" + "".join(f"{rows:>8} x {units:<5}" for rows, units in SHAPES))
    for name in columns[SHAPES[0]]:
        print(f"{name:30}" + "".join(f"{columns[shape][name]:>16.2f}" for shape in SHAPES))


if __name__ == "__main__":
    main()
