"""Objectives without log Z and without chains: pseudo-likelihood, ratio matching, score matching.

    pseudo-likelihood   -sum_i log p(v_i | v_-i)                                Besag 1975
    ratio matching       sum_i (1 - p(v_i | v_-i))^2                            Hyvarinen 2007; Marlin et al. 2010
    score matching       sum_i psi_i^2 / 2 + d psi_i / d v_i,  psi = d log p / d v    Hyvarinen 2005

Each is least, on average over the data, where the model's law is the data's: they are consistent. All see the model
only near the data, so modes far from any case go unnoticed, as with contrastive divergence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.pseudolikelihood import log_conditional, n_variables_of
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, check_count
from deepbelief.protocols import Generator
from deepbelief.units.gaussian import Gaussian

INDEPENDENT = ("bernoulli", "spin", "gaussian")  # hidden kinds whose units do not compete: covariance is diagonal


class _Stateless:
    """Nothing lives from step to step."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to put back."""


class PseudoLikelihood(_Stateless):
    """Minus the log pseudo-likelihood in nats, from `n_variables` drawn for each case and scaled up (unbiased)."""

    name = "pseudo_likelihood_loss"

    def __init__(self, n_variables: int = 10) -> None:
        check_count("n_variables", n_variables, low=1)
        self.n_variables = n_variables

    def start(self, rbm: RBM, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        n_variables_of(rbm)

    def losses(self, rbm: RBM, v: Tensor, generator: Generator) -> Tensor:
        return -self._mean_over_draws(rbm, v, generator, lambda log_p: log_p)

    def _mean_over_draws(self, rbm: RBM, v: Tensor, generator: Generator, function: Any) -> Tensor:
        d = n_variables_of(rbm)
        chosen = torch.randint(d, (self.n_variables, len(v)), device=v.device, generator=generator)
        terms = [function(log_conditional(rbm, v, variable)) for variable in chosen]
        return d * torch.stack(terms).mean(0)


class RatioMatching(PseudoLikelihood):
    """Squared probabilities of the wrong value of each binary unit, from `n_variables` drawn for each case."""

    name = "ratio_matching_loss"

    def start(self, rbm: RBM, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        bases = rbm.visible.bases
        if bases is None or set(bases) != {2}:
            raise InvalidArgumentError(
                f"ratio matching needs binary visible units. Got {rbm.visible.kind} units. "
                'Use learning="pl" for discrete units of more values, "score" for Gaussian ones.'
            )

    def losses(self, rbm: RBM, v: Tensor, generator: Generator) -> Tensor:
        return self._mean_over_draws(rbm, v, generator, lambda log_p: torch.expm1(log_p).square())


class ScoreMatching(_Stateless):
    """The score-matching objective of Gaussian visible units: needs no normalization and no draw."""

    name = "score_matching_loss"

    def start(self, rbm: RBM, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        if not isinstance(rbm.visible, Gaussian) or rbm.hidden.kind not in INDEPENDENT:
            raise InvalidArgumentError(
                f"score matching needs gaussian visible units and hidden ones of kind {', '.join(INDEPENDENT)}. "
                f'Got {rbm.visible.kind} and {rbm.hidden.kind}. Use learning="pcd" instead.'
            )

    def losses(self, rbm: RBM, v: Tensor, generator: Generator) -> Tensor:
        units = rbm.visible
        assert isinstance(units, Gaussian)
        inputs = rbm.input_h_from_v(v)
        if not inputs.requires_grad:
            inputs.requires_grad_()
        mean_h = rbm.hidden.mean(inputs)
        (variance_h,) = torch.autograd.grad(mean_h.sum(), inputs, create_graph=True)  # units are independent
        score = units.bias - units.precision * v + rbm.input_v_from_h(mean_h)  # (n, n_visible)
        curvature = variance_h @ rbm.weight.square().sum(0) - units.precision.sum()  # (n,)
        return 0.5 * score.square().sum(-1) + curvature
