"""What to look at while a model learns: numbers at chosen epochs, none of them for free, each with its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.chain_watch import CHAIN_QUANTITIES, measure_chains
from deepbelief.energy.dbm import DBM
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.pseudolikelihood import pseudo_log_likelihood
from deepbelief.energy.rbm import RBM
from deepbelief.energy.running_likelihood import RUNNING, RunningLikelihood
from deepbelief.errors import InvalidArgumentError, check_choice
from deepbelief.rng import make_generator
from deepbelief.training.processes import joined
from deepbelief.types import Bound

OF_THE_MODEL = ("reconstruction_error", "pseudo_likelihood", "free_energy_gap", "log_likelihood", "saturation")
OF_LEARNING = (*CHAIN_QUANTITIES, RUNNING)  # of the chains that learning has, and of the weights that they follow
QUANTITIES = (*OF_THE_MODEL, *OF_LEARNING)
OF_DBM = ("log_likelihood", RUNNING)  # what a deep Boltzmann machine can have of them


def reconstruction_error(rbm: RBM, v: Tensor, generator: torch.Generator) -> float:
    """Squared error of one step down from sampled hidden units, summed over units, averaged over cases."""
    return (v - rbm.mean_v_from_h(rbm.sample_h_from_v(v, generator))).square().sum(-1).mean().item()


def saturation(rbm: Bipartite, v: Tensor) -> float | None:
    """The share of hidden means within 1 % of an end of their range; near 1, hidden units no longer learn.

    None for continuous hidden units, whose range has no ends.
    """
    bases = rbm.hidden.bases
    if bases is None:
        return None
    ends = rbm.hidden.from_digits(torch.tensor([[0] * len(bases), [base - 1 for base in bases]]))
    low, high = ends.min().item(), ends.max().item()
    place = (rbm.hidden.mean(rbm.input_h_from_v(v)) - low) / (high - low)
    return ((place - 0.5).abs() > 0.49).float().mean().item()


class Looks:
    """What `make_watch` makes: call it for numbers of the model; `look_at_learning` adds those of learning's chains."""

    def __init__(
        self, rbm: RBM | DBM, train: Tensor, held_out: Tensor | None, quantities: Sequence[str], seed: int, betas: int
    ) -> None:
        self.rbm: Any = rbm
        self.train, self.held_out = train, held_out
        self.quantities, self.seed, self.betas = quantities, seed, betas
        cases = train if held_out is None else held_out
        self.running = RunningLikelihood(rbm, train, cases, seed=seed) if RUNNING in quantities else None

    @torch.no_grad()
    def __call__(self, *_: object) -> dict[str, Any]:
        """The numbers of the model by name, repeatable: each look draws from the same seed."""
        cases = self.train if self.held_out is None else self.held_out
        generator = make_generator(self.seed, cases.device)
        numbers: dict[str, Any] = {}
        for name in self.quantities:
            if name in OF_LEARNING:
                continue
            value = _measure(name, self.rbm, self.train, cases, self.held_out is not None, generator, self.betas)
            if value is not None:
                numbers[name] = value
        return numbers

    def look_at_learning(self, procedure: object, epoch: int) -> dict[str, Any]:
        """The numbers of the chains that `procedure` leans on, with the weights that they follow (not averaged)."""
        names = [name for name in self.quantities if name in CHAIN_QUANTITIES]
        negative, found = getattr(procedure, "negative", None), {}
        if names:
            generator = make_generator(self.seed, self.train.device)
            found = measure_chains(self.rbm, negative, self.train, quantities=names, generator=generator)
        if self.running is not None:
            found[RUNNING] = self.running.look(negative, epoch)
        return dict(found)

    def state_dict(self) -> dict[str, Any]:
        """What later looks depend on: the running log Z, where it is watched."""
        return {} if self.running is None else self.running.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put `state` back."""
        if self.running is not None:
            self.running.load_state_dict(state)


def make_watch(
    rbm: RBM | DBM,
    train: Tensor,
    held_out: Tensor | None = None,
    quantities: Sequence[str] = ("reconstruction_error", "pseudo_likelihood", "free_energy_gap"),
    *,
    seed: int = 0,
    betas: int = 1000,
) -> Looks:
    """A function for the trainer's `Watch` callback: it measures `quantities` on the held-out cases.

    ``free_energy_gap`` is the mean free energy of the held-out cases minus that of the training cases: it grows when
    the model learns its training cases by heart (Hinton 2010, section 6). ``log_likelihood`` is exact or by AIS both
    ways with `betas` temperatures. ``relaxation_time`` and ``chain_gap`` are of the chains that learning uses (see
    `measure_chains`), ``running_log_likelihood`` carries log Z from look to look (`RunningLikelihood`). Quantities that
    the units cannot have are left out. A deep Boltzmann machine has the two log-likelihoods, as lower bounds.
    """
    for name in quantities:
        check_choice("quantities", name, OF_DBM if isinstance(rbm, DBM) else QUANTITIES)
    return Looks(rbm, train, held_out, tuple(quantities), seed, betas)


def _measure(
    name: str, rbm: RBM, train: Tensor, cases: Tensor, apart: bool, generator: torch.Generator, betas: int
) -> float | Bound | None:
    if name == "reconstruction_error":
        return reconstruction_error(rbm, cases, generator)
    if name == "saturation":
        return saturation(rbm, cases)
    if name == "free_energy_gap":
        return (rbm.free_energy(cases).mean() - rbm.free_energy(train).mean()).item() if apart else None
    if name == "log_likelihood":
        look: dict[str, Any] = {"n_chains": 100, "betas": betas, "burn_in": 100, "doublings": 0}  # each costs the same
        bound = log_z(rbm, **look, generator=generator, processes=joined())
        return rbm.log_likelihood(cases, log_z=bound).mean()
    try:
        return pseudo_log_likelihood(rbm, cases, n_variables=10, generator=generator).mean()
    except InvalidArgumentError:
        return None  # continuous or mixed visible units have no pseudo-likelihood; the other numbers still serve
