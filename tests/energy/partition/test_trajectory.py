"""log Z along a training against the exact one, and schedules that fit the model."""

from __future__ import annotations

import torch

from deepbelief.energy.partition.adaptive import adaptive_betas, even_steps
from deepbelief.energy.partition.ais import ais, linear_betas
from deepbelief.energy.partition.trajectory import TrajectoryLogZ
from deepbelief.energy.rbm import RBM
from tests.oracle.joint import Joint
from tests.oracle.zoo import tiny_rbm


def draws(rbm: RBM, n: int, generator: torch.Generator) -> torch.Tensor:
    joint = Joint.of(rbm)
    return joint.halves(joint.draw(n, generator))[0]


def test_the_running_log_z_follows_the_model(generator: torch.Generator) -> None:
    rbm, running = tiny_rbm("bernoulli", "bernoulli", generator, scale=0.3), TrajectoryLogZ(betas=5)
    for _ in range(6):
        bound = running.update(rbm, draws(rbm, 2000, generator), generator=generator)
        # neighbouring steps share their draws, so the error may be up to the root of two larger than said
        assert abs(float(bound) - Joint.of(rbm).log_z.item()) < 8 * bound.stderr
        with torch.no_grad():
            for parameter in rbm.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.3)
    assert running.steps == 6
    assert running.widest_gap < 1


def test_even_steps_are_even(generator: torch.Generator) -> None:
    betas = linear_betas(200)
    spreads = torch.rand(199, generator=generator).double() * torch.linspace(0.1, 3, 199).double()
    flat = even_steps(betas, torch.ones(199).double() * betas.diff(), 50)
    torch.testing.assert_close(flat, torch.linspace(0, 1, 50).double())
    found = even_steps(betas, spreads, 50)
    assert (found.diff() > 0).all()
    assert (found[0], found[-1]) == (0, 1)


def test_a_schedule_that_fits_has_less_error(generator: torch.Generator) -> None:
    """All of this model's change happens in the first hundredth of the path, where the fixed schedule hardly looks."""
    rbm = RBM(8, 4).double()
    with torch.no_grad():
        rbm.weight.fill_(400.0)
        rbm.visible.bias.fill_(-800.0)
        rbm.hidden.bias.fill_(-1600.0)
        rbm.visible_offset.fill_(0.5)
        rbm.hidden_offset.fill_(0.5)
    fitted = adaptive_betas(rbm, 100, generator=generator)
    fixed = ais(rbm, n_chains=200, betas=100, generator=generator)
    fit = ais(rbm, n_chains=200, betas=fitted, generator=generator)
    assert fit.log_weights.std() < fixed.log_weights.std() / 2
    assert abs(fit.log_z - Joint.of(rbm).log_z.item()) < 5 * fit.stderr + 1e-9
