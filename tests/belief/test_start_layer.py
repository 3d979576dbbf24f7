"""A layer starts from the weighted moments of its data."""

import torch

from deepbelief.belief.greedy import start_layer
from deepbelief.data.source import make_source
from deepbelief.energy.rbm import RBM
from deepbelief.units.gaussian import Gaussian


def test_weights_of_cases_are_repetitions_of_them(generator: torch.Generator) -> None:
    x = torch.randn(12, 3, generator=generator)
    weight = torch.arange(12) % 4
    weighted, repeated = (RBM(Gaussian(3), 2, weight_std=0.0) for _ in range(2))
    start_layer(weighted, make_source(x, weight=weight), generator)
    start_layer(repeated, make_source(x.repeat_interleave(weight, 0)), generator)
    for name, value in repeated.state_dict().items():
        torch.testing.assert_close(weighted.state_dict()[name], value)
