"""The RBM over all pairs of kinds of units: energies and conditionals against the joint law that defines them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.units.base import Units
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.poisson import Poisson
from deepbelief.units.rectified import Rectified
from deepbelief.units.side_by_side import SideBySide
from tests.oracle.joint import Joint, log_ways_at, mean_log_likelihood
from tests.oracle.zoo import ENUMERABLE, PAIRS, tiny_rbm

close = torch.testing.assert_close


@pytest.fixture(params=PAIRS, ids="-".join)
def rbm(request: pytest.FixtureRequest, generator: torch.Generator) -> RBM:
    return tiny_rbm(*request.param, generator)


@pytest.fixture
def joint(rbm: RBM) -> Joint:
    return Joint.of(rbm)


@pytest.fixture
def z(joint: Joint, generator: torch.Generator) -> Tensor:
    return joint.draw(4, generator)


def test_energy_is_its_definition(rbm: RBM, joint: Joint, z: Tensor) -> None:
    v, h = joint.halves(z)
    close(rbm.energy(v, h), joint.energy(z) - log_ways_at(rbm.visible, v) - log_ways_at(rbm.hidden, h))


def test_free_energies_sum_the_other_layer_out(rbm: RBM, joint: Joint, z: Tensor) -> None:
    v, h = joint.halves(z)
    close(rbm.free_energy(v), torch.stack([-joint.given_visible(row).log_z for row in v]))
    close(rbm.free_energy_of_h(h), torch.stack([-joint.given_hidden(row).log_z for row in h]))


def test_conditional_means_are_those_of_the_joint_law(rbm: RBM, joint: Joint, z: Tensor) -> None:
    v, h = joint.halves(z)
    n = joint.n_visible
    close(rbm.mean_h_from_v(v), torch.stack([joint.given_visible(row).moments()[0][n:] for row in v]))
    close(rbm.mean_v_from_h(h), torch.stack([joint.given_hidden(row).moments()[0][:n] for row in h]))
    close(rbm.encode(v), rbm.mean_h_from_v(v), rtol=0, atol=0)
    close(rbm.decode(h), rbm.mean_v_from_h(h), rtol=0, atol=0)


@pytest.mark.parametrize("pair", ENUMERABLE, ids="-".join)
def test_log_likelihood_is_that_of_the_joint_law(pair: tuple[str, str], generator: torch.Generator) -> None:
    rbm = tiny_rbm(*pair, generator)
    joint = Joint.of(rbm)
    v = joint.halves(joint.draw(4, generator))[0]
    bound = rbm.log_likelihood(v)
    assert (bound.kind, bound.stderr) == ("exact", 0.0)
    close(bound.mean().value, mean_log_likelihood(rbm, v).item())


def test_single_precision_agrees_with_double(rbm: RBM, joint: Joint, z: Tensor) -> None:
    v, h = joint.halves(z)
    double = [rbm.energy(v, h), rbm.free_energy(v), rbm.free_energy_of_h(h), rbm.encode(v), rbm.decode(h)]
    rbm.float()
    v, h = v.float(), h.float()
    single = [rbm.energy(v, h), rbm.free_energy(v), rbm.free_energy_of_h(h), rbm.encode(v), rbm.decode(h)]
    assert {value.dtype for value in single} == {torch.float32}
    close(single, [value.float() for value in double])


def test_the_same_seed_draws_the_same_and_another_does_not(rbm: RBM) -> None:
    runs = [rbm.sample(3, n_steps=2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    more = rbm.sample(50, n_steps=2, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(rbm.sample(50, n_steps=2, generator=torch.Generator().manual_seed(0)), more)


def test_config_rebuilds_the_model(rbm: RBM, z: Tensor, joint: Joint) -> None:
    twin = RBM.from_config(rbm.config()).double()
    twin.load_state_dict(rbm.state_dict())
    v, h = joint.halves(z)
    close(twin.energy(v, h), rbm.energy(v, h), rtol=0, atol=0)
    assert rbm.empty_like().weight.dtype == torch.float64


def test_base_is_independent_units_with_the_means_of_the_offsets(rbm: RBM) -> None:
    base = rbm.base()
    mean = Joint.of(base).moments()[0]
    close(mean, torch.cat([rbm.visible_offset, rbm.hidden_offset]))
    assert not base.weight.any()


def test_match_data_starts_at_the_moments_of_data(rbm: RBM, joint: Joint, generator: torch.Generator) -> None:
    x = joint.halves(joint.draw(300, generator))[0]
    rbm.match_data(x)
    close(rbm.visible_offset, x.mean(0))
    close(rbm.visible.mean(torch.zeros_like(x[0])), x.mean(0))
    close(rbm.hidden_offset, rbm.mean_h_from_v(x.mean(0, keepdim=True))[0])


def test_samples_are_values_of_the_units(rbm: RBM, generator: torch.Generator) -> None:
    x = rbm.sample(20, n_steps=3, generator=generator)
    rbm.visible.check_values(x)
    assert rbm.sample(20, n_steps=3, generator=generator, mean=True).shape == x.shape


@pytest.mark.parametrize("other", [Gaussian(2), Rectified(2), Poisson(2), SideBySide([Poisson(1), Rectified(1)])])
def test_pairs_without_a_law_are_refused(other: Units) -> None:
    for layers in ((Poisson(3), other), (other, Poisson(3))):
        with pytest.raises(InvalidArgumentError, match=r"must stand beside units of bounded values.*Use Bernoulli"):
            RBM(*layers)
