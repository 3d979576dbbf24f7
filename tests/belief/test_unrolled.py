"""The unrolled network is the mean-field pass of its DBN, until it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.data.source import ArraySource
from deepbelief.errors import InvalidArgumentError
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer

close = torch.testing.assert_close


def test_features_are_the_means_of_the_top(dbn: DBN, x: Tensor) -> None:
    net = UnrolledDBN.from_dbn(dbn, 2)
    if not dbn.n_classes:
        close(net.features(x), dbn.encode(x))
    h = dbn.upward(x)
    close(net.features(x), dbn.top.hidden.mean(h @ dbn.top.weight[: h.shape[1]]))
    assert net(x).shape == (len(x), 2)
    assert net(x).dtype == x.dtype


def test_the_output_starts_small_and_repeats(dbn: DBN, x: Tensor) -> None:
    nets = [UnrolledDBN.from_dbn(dbn, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    close(nets[0](x), nets[1](x), rtol=0, atol=0)
    assert not torch.equal(nets[0](x), nets[2](x))
    assert not UnrolledDBN.from_dbn(dbn, 2, output_std=0.0)(x).any()


def test_it_holds_copies(dbn: DBN, x: Tensor) -> None:
    net, before = UnrolledDBN.from_dbn(dbn, 2), dbn.encode(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    close(dbn.encode(x), before, rtol=0, atol=0)


def test_config_rebuilds_the_network(dbn: DBN, x: Tensor) -> None:
    net = UnrolledDBN.from_dbn(dbn, 2, dropout=0.5, input_dropout=0.1).eval()
    twin = UnrolledDBN.from_config(net.config()).double().eval()
    twin.load_state_dict(net.state_dict())
    close(twin(x), net(x), rtol=0, atol=0)
    assert twin.config() == net.config()


def test_dropout_acts_while_learning_only(generator: torch.Generator) -> None:
    dbn = DBN.of_sizes([20, 50, 50], generator=generator)
    net, x = UnrolledDBN.from_dbn(dbn, 2, dropout=0.5), torch.ones(3, 20)
    assert 0.3 < (net.features(x) == 0).float().mean() < 0.7
    assert not (net.eval().features(x) == 0).any()


def test_fine_tuning_learns_what_the_label_depends_on(generator: torch.Generator) -> None:
    x = (torch.rand(120, 6, generator=generator) < 0.5).float()
    y = (x[:, 0] != x[:, 3]).long()
    net = UnrolledDBN.from_dbn(DBN.of_sizes([6, 20], generator=generator), 2, generator=generator)
    for layer in net.mean_fields:
        layer.linear.weight.data *= 100  # past the plateau of tiny weights
    Trainer(epochs=60, progress=False, device="cpu").fit(
        SupervisedProcedure(net, optimizer="adam", learning_rate=0.03), ArraySource(x, y, batch_size=30)
    )
    assert (net.eval()(x).argmax(1) == y).float().mean() == 1.0


@pytest.mark.parametrize(("name", "value"), [("n_outputs", 0), ("dropout", 1.5), ("input_dropout", -0.1)])
def test_wrong_arguments_get_a_sentence(name: str, value: float) -> None:
    arguments = {"n_outputs": 1, name: value}
    with pytest.raises(InvalidArgumentError, match=f"{name} must be .*Got {name}="):
        UnrolledDBN.from_dbn(DBN.of_sizes([3, 2]), **arguments)  # type: ignore[arg-type]
