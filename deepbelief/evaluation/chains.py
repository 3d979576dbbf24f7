"""How chains of a model run: how fast they forget, whether they agree, and whether they visit what the data visit.

Two groups of chains start far apart, at data and at independent units. Where both tell the same story in the second
half of the run, samples and likelihoods of the model can be believed; where they do not, none of these can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.kernels.traces import FREE_ENERGY, Scalars, Traces, run_chains
from deepbelief.energy.watch import saturation
from deepbelief.errors import InvalidDataError, check_count
from deepbelief.evaluation.chain_view import ChainView
from deepbelief.maths.autocorrelation import effective_size, nested_r_hat, relaxation_time, slowest, split_r_hat
from deepbelief.protocols import Kernel
from deepbelief.types import Bound, Result

AGREED = 1.05  # nested R-hat up to which groups of chains agree: their means lie within half a standard deviation


@dataclass(frozen=True)
class ChainDiagnosis:
    """What a run of two groups of chains showed, over its second half; times are in sweeps.

    ``relaxation`` is the slowest number's; ``times`` of relaxation, ``effective_sizes``, ``r_hats`` (split, of all
    chains) and ``nested_r_hats`` (of the two groups) are by number; ``start_gap`` is how much higher the mean free
    energy of the chains from independent units is (None without one).
    """

    relaxation: Bound
    times: dict[str, Bound]
    effective_sizes: dict[str, Bound]
    r_hats: dict[str, float]
    nested_r_hats: dict[str, float]
    flip_rate: float
    start_gap: Bound | None
    n_draws: int
    ends: tuple[Any, Any]

    @property
    def worst_r_hat(self) -> float:
        """The largest nested R-hat."""
        return max(self.nested_r_hats.values())

    @property
    def mixed(self) -> bool:
        """Whether the groups agree and the run was long enough to tell."""
        return self.worst_r_hat <= AGREED and self.relaxation.kind == "estimate"


def diagnose_chains(
    kernel: Kernel, from_data: Any, from_base: Any, scalars: Scalars, n_steps: int, *, generator: torch.Generator
) -> ChainDiagnosis:
    """Run any kernel for `n_steps` from two states (one of chains at data, one of chains far from them).

    The first half is thrown away. Raises `InvalidArgumentError` where `n_steps` is below 16.
    """
    check_count("n_steps", n_steps, low=16)
    groups = [run_chains(kernel, state, scalars, n_steps, generator=generator) for state in (from_data, from_base)]
    late = [group.values[:, n_steps // 2 :] for group in groups]
    both = torch.cat(late)
    numbers = dict(zip(scalars.names, both.unbind(2), strict=True))
    return ChainDiagnosis(
        slowest(both),
        {name: relaxation_time(trace) for name, trace in numbers.items()},
        {name: effective_size(trace) for name, trace in numbers.items()},
        {name: split_r_hat(trace) for name, trace in numbers.items()},
        {name: nested_r_hat([group[:, :, i] for group in late]) for i, name in enumerate(scalars.names)},
        sum(group.flip_rate * len(group.values) for group in groups) / len(both),
        _start_gap(groups, n_steps // 2),
        both.shape[0] * both.shape[1],
        (groups[0].state, groups[1].state),
    )


def _start_gap(groups: list[Traces], first: int) -> Bound | None:
    if FREE_ENERGY not in groups[0].names:
        return None
    data, base = (group.of(FREE_ENERGY)[:, first:].mean(1) for group in groups)
    error = math.sqrt(data.var() / len(data) + base.var() / len(base)) if min(len(data), len(base)) > 1 else math.nan
    return Bound(float(base.mean() - data.mean()), "estimate", error, "chains from two sides")


def diagnose_model(
    model: Any, x: Tensor, *, n_chains: int = 100, n_steps: int = 400, generator: torch.Generator
) -> ChainDiagnosis:
    """The chains of any energy-based model, or of a stack's top: `n_chains` from cases `x`, and from independent units.

    A Boltzmann machine's chains are followed by their energy, all others' by their free energy.

    >>> from deepbelief.energy.rbm import RBM
    >>> rbm, generator = RBM(6, 3), torch.Generator().manual_seed(0)
    >>> x = rbm.sample(50, generator=generator)
    >>> diagnose_model(rbm, x, n_steps=100, generator=generator).mixed
    True
    """
    check_count("n_chains", n_chains, low=2)
    if len(x) < 2:
        raise InvalidDataError(f"x must hold at least 2 cases. Got {len(x)}.")
    view = ChainView(model)
    lifted, kernel = view.states(x, generator), view.kernel
    rows = torch.randint(len(x), (n_chains,), generator=generator, device=generator.device).to(x.device)
    from_data = kernel.start_at(lifted[rows], generator=generator)
    from_base = kernel.init(n_chains, generator=generator)
    scalars = Scalars(view.free_energy, lifted)
    return diagnose_chains(kernel, from_data, from_base, scalars, n_steps, generator=generator)


def ends_as_data(model: Any, found: ChainDiagnosis, generator: torch.Generator) -> Tensor:
    """The last states of the chains from independent units as cases: draws of the model, where the chains mixed."""
    return ChainView(model).cases(found.ends[1].v, generator)


def diagnosis_rows(model: Any, found: ChainDiagnosis, *, data: str, model_name: str) -> list[Result]:
    """Rows of results: relaxation time, worth of the draws, agreement, movement and saturation."""
    view = ChainView(model)
    size = min(found.effective_sizes.values(), key=float)
    share = 1000 / found.n_draws  # effective draws per 1000
    time = found.relaxation
    rows: list[Any] = [
        ("relaxation time of chains", float(time), time.kind, time.stderr, "sweeps"),
        ("effective draws per 1000 sweeps", share * float(size), size.kind, share * size.stderr, ""),
        ("R-hat of chains from data and from independent units", found.worst_r_hat, "measured", None, ""),
        ("split R-hat of all chains", max(found.r_hats.values()), "measured", None, ""),
    ]
    if found.start_gap is not None:
        gap = found.start_gap
        rows.append((f"{view.name} gap of chains from two sides", float(gap), gap.kind, gap.stderr, "nats"))
    if view.part.visible.bases is not None:
        rows.append(("visible entries that change in a sweep", 100 * found.flip_rate, "measured", None, "%"))
    stuck = None if view.is_whole else saturation(view.part, found.ends[1].v)
    if stuck is not None:
        rows.append(("saturated hidden means on chains", 100 * stuck, "measured", None, "%"))
    return [Result(what, value, kind, error, unit, data, model_name) for what, value, kind, error, unit in rows]
