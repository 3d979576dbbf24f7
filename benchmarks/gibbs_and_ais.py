"""Sampling and annealed importance sampling of an RBM 784-500 against the bare matrix products that they are made of.

python benchmarks/gibbs_and_ais.py [--rounds 7] [--threads 1]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _measure import interleaved, parser, print_table, set_up

from deepbelief.energy.partition.ais import ais
from deepbelief.energy.rbm import RBM
from deepbelief.rng import make_generator

VISIBLE, HIDDEN = 784, 500
LIMIT = "limit: two bare products a sweep"


def bare(n_chains: int, sweeps: int) -> Callable[[], None]:
    """v W and h W', as often as the sampler needs them."""
    w, v, h = torch.randn(VISIBLE, HIDDEN), torch.rand(n_chains, VISIBLE), torch.rand(n_chains, HIDDEN)
    to_v, to_h = torch.empty_like(v), torch.empty_like(h)

    def run() -> None:
        for _ in range(sweeps):
            torch.mm(v, w, out=to_h)
            torch.mm(h, w.T, out=to_v)

    return run


def main() -> None:
    """Measure and print both tables."""
    options = parser("Gibbs sampling and AIS of an RBM against their matrix products", 7).parse_args()
    set_up(options.threads)
    generator = make_generator(0)
    rbm = RBM(VISIBLE, HIDDEN, weight_std=0.05, generator=generator)
    ways = {LIMIT: bare(1000, 20), "deepbelief": lambda: rbm.sample(1000, n_steps=20, generator=generator)}
    print_table("1,000 chains, one sweep", interleaved(ways, options.rounds), limit=LIMIT, per=20)
    ways = {LIMIT: bare(100, 200), "deepbelief": lambda: ais(rbm, n_chains=100, betas=200, generator=generator)}
    print_table("AIS, 100 runs, one temperature", interleaved(ways, options.rounds), limit=LIMIT, per=200)


if __name__ == "__main__":
    main()
