"""CD and PCD against the exact expectation of what they draw."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.rbm import RBM
from deepbelief.errors import DivergenceError, InvalidArgumentError
from deepbelief.types import Batch
from tests.oracle.checks import exact_gradient, library_gradient, model_moments, moment_rows, positive_phase
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.stack import energy_table
from tests.oracle.zoo import DISCRETE_PAIRS, PAIRS, tiny_rbm

N = 20_000


def moments_after(rbm: RBM, rows: Tensor, k: int) -> Tensor:
    """The exact moments of v, h and v h' after k sweeps from these rows, by powers of the transition matrix."""
    energies, v = energy_table(rbm), torch.cat(list(rbm.visible.states()))
    up, down = torch.softmax(-energies, 1), torch.softmax(-energies, 0)  # p(h | v) in rows, p(v | h) in columns
    law = (rows.unsqueeze(1) == v).all(2).double().mean(0) @ torch.linalg.matrix_power(up @ down.T, k)
    mean_h = rbm.mean_h_from_v(v)
    return torch.cat([law @ v, law @ mean_h, (v.T @ (law.unsqueeze(1) * mean_h)).flatten()])


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("visible", "hidden"), DISCRETE_PAIRS[::3])
def test_cd_averages_to_its_expectation(visible: str, hidden: str, k: int, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    rows = rbm.sample(2, n_steps=2, generator=generator)
    phase = positive_phase(rbm, rows.repeat(N // 2, 1))
    found, watched = ContrastiveDivergence(k).moments(rbm, phase, generator)
    assert means_p_value(moment_rows(found), moments_after(rbm, rows, k)) > FALSE_ALARM
    assert watched.keys() == {"reconstruction_error"}


def test_long_contrastive_divergence_approaches_the_model(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    rows, wanted = torch.ones(1, 3).double(), model_moments(Joint.of(rbm))
    gaps = [(moments_after(rbm, rows, k) - wanted).abs().max().item() for k in (1, 5, 25)]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    found, _ = ContrastiveDivergence(25).moments(rbm, positive_phase(rbm, rows.expand(N, -1)), generator)
    assert means_p_value(moment_rows(found), wanted) > FALSE_ALARM


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_pcd_from_chains_of_the_model_averages_to_the_model(
    visible: str, hidden: str, k: int, generator: torch.Generator
) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    joint = Joint.of(rbm)
    chains = PersistentChains(N, k)
    chains.v, chains.h = joint.halves(joint.draw(N // 2, generator))
    found, _ = chains.moments(rbm, positive_phase(rbm, chains.v[:3]), generator)
    assert means_p_value(moment_rows(found), model_moments(joint)) > FALSE_ALARM
    assert joint.p_value(torch.cat([chains.v, chains.h], 1)) > FALSE_ALARM


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_the_models_half_has_no_bias_whatever_the_size_of_the_batch(rows: int, generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "spin", generator)
    joint = Joint.of(rbm)
    chains = PersistentChains(100)
    chains.v, chains.h = joint.halves(joint.draw(100, generator))
    phase = positive_phase(rbm, torch.ones(rows, 3).double())
    estimates = []
    for _ in range(400):
        chains.v, chains.h = joint.halves(joint.draw(100, generator))
        found, _ = chains.moments(rbm, phase, generator)
        estimates.append(torch.cat([found.v, found.h, (found.left.T @ found.right).flatten()]))
    assert means_p_value(torch.stack(estimates), model_moments(joint)) > FALSE_ALARM


def test_chains_persist_and_contrastive_divergence_starts_anew(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    chains = PersistentChains(50)
    chains.start(rbm, torch.ones(3, 3).double(), generator, rank=0, world_size=1)
    h, phase = chains.h, positive_phase(rbm, torch.zeros(3, 3).double())
    chains.moments(rbm, phase, torch.Generator().manual_seed(0))
    twin = PersistentChains(50)
    twin.load_state_dict({"v": torch.zeros(50, 3).double(), "h": h, "updates": 0})
    twin.moments(rbm, phase, torch.Generator().manual_seed(0))
    assert torch.equal(twin.h, chains.h)
    assert torch.equal(twin.v, chains.v)
    assert ContrastiveDivergence().state_dict() == {}


def test_a_case_of_weight_three_is_the_case_three_times_in_contrastive_divergence(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "categorical", generator, scale=1.5)
    rows = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]).double()
    phase = positive_phase(rbm, rows, torch.tensor([3.0, 1.0, 0.0]).double())
    estimates = []
    for _ in range(2000):
        found, _ = ContrastiveDivergence().moments(rbm, phase, generator)
        estimates.append(torch.cat([found.v, found.h, (found.left.T @ found.right).flatten()]))
    wanted = moments_after(rbm, rows[[0, 0, 0, 1]], 1)
    assert means_p_value(torch.stack(estimates), wanted) > FALSE_ALARM
    error = ContrastiveDivergence().moments(rbm, phase, torch.Generator().manual_seed(0))[1]["reconstruction_error"]
    alone = positive_phase(rbm, rows[:2], torch.tensor([3.0, 1.0]).double())
    torch.testing.assert_close(
        error, ContrastiveDivergence().moments(rbm, alone, torch.Generator().manual_seed(0))[1]["reconstruction_error"]
    )


def test_many_persistent_chains_give_the_exact_gradient(generator: torch.Generator) -> None:
    rbm = tiny_rbm("spin", "bernoulli", generator)
    joint, batch = Joint.of(rbm), Batch(torch.ones(2, 3).double())

    class AtTheModel(PersistentChains):
        def start(self, rbm: RBM, first: Tensor, generator: object, *, rank: int, world_size: int) -> None:
            self.v, self.h = joint.halves(joint.draw(N, torch.Generator().manual_seed(1)))

    found, wanted = library_gradient(rbm, batch, AtTheModel(N)), exact_gradient(rbm, batch, centred=True)
    for name in wanted:  # a centred entry sums at most four averages of numbers within [-1, 1]
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=6 * 4 / N**0.5)


@pytest.mark.parametrize("start_at", ["base", "data"])
def test_processes_share_the_chains_out(start_at: str, generator: torch.Generator) -> None:
    rbm, counts = RBM(4, 3), []
    for rank in range(3):
        chains = PersistentChains(10, start_at=start_at)
        chains.start(rbm, torch.ones(2, 4), generator, rank=rank, world_size=3)
        counts.append(len(chains.h))
        assert chains.v.shape == (counts[-1], 4)
        assert start_at == "base" or (chains.v == 1).all()
    assert counts == [4, 3, 3]


def test_chains_of_nan_stop_the_training(generator: torch.Generator) -> None:
    chains = PersistentChains(4)
    rbm = tiny_rbm("gaussian", "bernoulli", generator)
    chains.load_state_dict({"v": torch.zeros(4, 2).double(), "h": torch.zeros(4, 3).double(), "updates": 499})
    rbm.visible.bias.data[0] = float("nan")
    with pytest.raises(DivergenceError, match="chains hold NaN or infinity"):
        chains.moments(rbm, positive_phase(rbm, torch.zeros(1, 2).double()), generator)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ContrastiveDivergence(0), r"k must be at least 1. Got k=0"),
        (lambda: PersistentChains(0), r"n_chains must be at least 1. Got n_chains=0"),
        (lambda: PersistentChains(k=0), r"k must be at least 1"),
        (lambda: PersistentChains(start_at="nowhere"), r"start_at must be 'base' or 'data'"),
    ],
)
def test_wrong_arguments_get_a_sentence(make: object, sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        make()  # type: ignore[operator]
