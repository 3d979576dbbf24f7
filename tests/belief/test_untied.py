"""Stacks with untied ways: everything that a DBN can do, against enumeration with weights that differ up and down."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepbelief.belief.annealed_bound import annealed_log_weights
from deepbelief.belief.bound import log_weights
from deepbelief.belief.dbn import DBN
from deepbelief.belief.untied import UntiedDBN
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Coder, Completer, Density, Sampler, Storable
from deepbelief.storage import load_model, save_model
from tests.belief.conftest import STACKS
from tests.oracle import stack, untied
from tests.oracle.checks import known_parts
from tests.oracle.joint import find
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value

close = torch.testing.assert_close
DEEP = ["bernoulli", "three layers", "mixed data", "labels", "labels over three layers"]


@pytest.fixture(params=DEEP)
def net(request: pytest.FixtureRequest, generator: torch.Generator) -> UntiedDBN:
    return untied.tiny_untied(*STACKS[request.param], generator)


def unlabelled(x: Tensor) -> list[int | None]:
    return [None] * len(x)


def test_an_untied_copy_does_what_the_dbn_does(dbn: DBN, x: Tensor) -> None:
    twin = UntiedDBN.from_dbn(dbn)
    for call in (
        lambda m: m.encode(x),
        lambda m: m.reconstruct(x),
        lambda m: m.upward(x, sample=True, generator=torch.Generator().manual_seed(1)),
        lambda m: m.sample(7, n_steps=3, generator=torch.Generator().manual_seed(1)),
        lambda m: m.complete(
            x, known_parts(m).expand_as(x), n_steps=3, n_average=2, generator=torch.Generator().manual_seed(1)
        ),
        lambda m: m.log_likelihood(x, generator=torch.Generator().manual_seed(1)).value,
        lambda m: m.classify(x) if m.n_classes else x,
    ):
        assert torch.equal(call(twin), call(dbn))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert not torch.equal(twin.encode(x), dbn.encode(x))  # copies: the DBN stays as it was
    assert all(isinstance(twin, capability) for capability in (Sampler, Density, Coder, Completer, Storable))


def test_samples_have_the_law_of_the_generative_weights(net: UntiedDBN, generator: torch.Generator) -> None:
    every = stack.states_of(net.visible)
    log_p = untied.log_likelihood(net, every, unlabelled(every)).detach()
    close(torch.logsumexp(log_p, 0), torch.zeros(()).double())
    where = find(every, net.sample(10_000, n_steps=30, generator=generator))
    assert (where >= 0).all()
    assert counts_p_value(torch.bincount(where, minlength=len(every)), log_p.exp()) > FALSE_ALARM


def test_the_weights_of_all_bounds_average_to_what_they_should(net: UntiedDBN, generator: torch.Generator) -> None:
    x = net.visible.sample(torch.zeros(4, net.visible.size).double(), generator).detach()
    log_p = untied.log_likelihood(net, x, unlabelled(x)).detach()
    wanted, n = untied.bound(net, x, unlabelled(x)).detach(), 4000
    assert (wanted < log_p).all()
    log_w = log_weights(net, x.repeat(n, 1), generator).detach().reshape(n, -1) - float(exact_log_z(net.top))
    assert means_p_value(log_w, wanted) > FALSE_ALARM
    assert means_p_value((log_w - log_p).exp(), 1.0) > FALSE_ALARM
    walked = annealed_log_weights(net, x.repeat(n, 1), 4, generator).detach().reshape(n, -1)
    assert means_p_value((walked - log_p - float(exact_log_z(net.top))).exp(), 1.0) > FALSE_ALARM


def test_a_network_comes_back_from_its_folder(net: UntiedDBN, tmp_path: Path) -> None:
    net = net.float()
    again = load_model(save_model(net, tmp_path / "model"))
    assert type(again) is UntiedDBN
    assert again.config() == net.config()
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert len(list(net.parameters())) == len({id(p) for p in net.parameters()})


def test_layers_that_do_not_fit_get_a_sentence(generator: torch.Generator) -> None:
    below = untied.tiny_untied(["bernoulli", "categorical", "bernoulli"], None, generator)
    other = untied.tiny_untied(["bernoulli", "bernoulli", "bernoulli"], None, generator)
    with pytest.raises(InvalidArgumentError, match="layer 2 must have 6 visible units"):
        UntiedDBN(below.untied, other.top)
