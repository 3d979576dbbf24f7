"""log Z by enumeration against a sum over both layers."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.partition.exact import exact_log_z, is_enumerable
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from tests.oracle.joint import Joint
from tests.oracle.zoo import ENUMERABLE, tiny_rbm


@pytest.mark.parametrize("chunk", [1, 5, 1 << 13])
@pytest.mark.parametrize(("visible", "hidden"), ENUMERABLE)
def test_log_z_is_the_sum_over_both_layers(visible: str, hidden: str, chunk: int, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    bound = exact_log_z(rbm, chunk=chunk)
    assert (bound.kind, bound.stderr) == ("exact", 0.0)
    torch.testing.assert_close(bound.value, Joint.of(rbm).log_z.item())


def test_single_precision_models_are_summed_in_double(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator).float()
    wanted = Joint.of(RBM.from_config(rbm.config()).double())
    twin = RBM.from_config(rbm.config()).double()
    twin.load_state_dict(rbm.state_dict())
    wanted = Joint.of(twin)
    assert abs(float(exact_log_z(rbm)) - wanted.log_z.item()) < 1e-12 * abs(wanted.log_z.item())
    assert rbm.weight.dtype == torch.float32


def test_the_probabilities_of_all_cases_sum_to_one(generator: torch.Generator) -> None:
    rbm = RBM(9, 4, weight_std=1.0, generator=generator)
    log_p = rbm.log_likelihood(torch.cat(list(rbm.visible.states()))).value
    torch.testing.assert_close(torch.logsumexp(log_p, 0), torch.zeros(()).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("visible", ["gaussian", "with_gaussian"])
def test_two_continuous_layers_get_a_sentence(visible: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, "gaussian", generator)
    assert not is_enumerable(rbm)
    with pytest.raises(
        InvalidArgumentError, match=r"smaller layer must have at most 3.36e\+07 states.*Got inf.*Use ais"
    ):
        exact_log_z(rbm)


def test_the_smaller_layer_decides() -> None:
    assert is_enumerable(RBM(500, 10), 1 << 10)
    assert is_enumerable(RBM(10, 500), 1 << 10)
    assert not is_enumerable(RBM(11, 500), 1 << 10)
