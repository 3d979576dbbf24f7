"""Supervised learning: the losses, the weights of cases, the optimizers, the limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from torch import Tensor

from deepbelief.data.source import ArraySource
from deepbelief.errors import DeepBeliefError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.protocols import Procedure, StepContext
from deepbelief.training.processes import Processes
from deepbelief.training.supervised import LOSSES, SupervisedProcedure, limit_incoming_weights
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(progress: float = 0.0) -> StepContext:
    alone = Processes(torch.device("cpu"))
    return StepContext(0, 0, progress, seeded(), alone.average, alone.autocast)


def target(loss: str, n: int, n_out: int) -> Tensor:
    if loss == "cross_entropy":
        return torch.randint(n_out, (n,), generator=seeded(5))
    return torch.rand(n, n_out, generator=seeded(5))


def test_it_is_a_procedure() -> None:
    assert isinstance(SupervisedProcedure(DenseNetwork((2, 2))), Procedure)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_weight_of_two_is_a_case_seen_twice_and_zero_is_a_case_not_seen(loss: str) -> None:
    x, y = torch.rand(4, 3, generator=seeded(1)), target(loss, 4, 3)
    weighted = Batch(x, y, torch.tensor([2.0, 1.0, 0.0, 1.0]))
    repeated = Batch(x[[0, 0, 1, 3]], y[[0, 0, 1, 3]])
    networks = []
    for batch in (weighted, repeated):
        network = DenseNetwork((3, 5), output=3, generator=seeded(2))
        SupervisedProcedure(network, loss=loss, optimizer="sgd", learning_rate=0.5).step(batch, context())
        networks.append(network)
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_first_step_of_sgd_is_the_gradient_of_the_loss() -> None:
    x, y = torch.rand(6, 3, generator=seeded(1)), target("cross_entropy", 6, 4)
    network = DenseNetwork((3,), output=4, generator=seeded(2))
    weight, bias = (p.detach().clone().requires_grad_() for p in network.parameters())
    loss = -torch.log_softmax(x @ weight.T + bias, 1)[torch.arange(6), y].mean()
    loss.backward()
    metrics = SupervisedProcedure(network, optimizer="sgd", learning_rate=0.25, momentum=0.0).step(
        Batch(x, y), context()
    )
    torch.testing.assert_close(metrics["loss"], loss.detach())
    torch.testing.assert_close(network.linear_layers[0].weight.detach(), (weight - 0.25 * weight.grad).detach())


def test_lbfgs_with_weight_decay_solves_ridge_regression() -> None:
    x, y = torch.randn(50, 4, generator=seeded(1)).double(), torch.randn(50, 2, generator=seeded(2)).double()
    network = DenseNetwork((4,), output=2, generator=seeded(3)).double()
    procedure = SupervisedProcedure(
        network, loss="mse", optimizer="lbfgs", learning_rate=1.0, weight_decay=0.2, lbfgs_steps=50
    )
    for _ in range(5):
        procedure.step(Batch(x, y), context())
    ridge = Ridge(alpha=50 * 0.2 / 2).fit(x.numpy(), y.numpy())
    layer = network.linear_layers[0]
    # L-BFGS stops where changes fall below 1e-9, so the solution is known to about the root of that
    torch.testing.assert_close(layer.weight.detach(), torch.from_numpy(ridge.coef_), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.bias.detach(), torch.from_numpy(ridge.intercept_), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 0.01), ("sgd", 0.1), ("lbfgs", 1.0)])
def test_it_learns_digits(optimizer: str, rate: float) -> None:
    x, y = load_digits(return_X_y=True)
    network = DenseNetwork((64, 40), activation="relu", output=10, generator=seeded())
    procedure = SupervisedProcedure(network, optimizer=optimizer, learning_rate=rate, schedule="linear")
    source = ArraySource(x[:1200] / 16, y[:1200], batch_size=1200 if optimizer == "lbfgs" else 50)
    Trainer(epochs=20, progress=False, device="cpu").fit(procedure, source)
    guesses = network(torch.tensor(x[1200:] / 16, dtype=torch.float32)).argmax(1)
    right = int((guesses == torch.tensor(y[1200:])).sum())
    assert right > 100, "chance is 60 of 597 with a deviation of 7.3; 100 is beyond a false alarm of 1e-6"


def test_the_schedule_drives_the_learning_rate() -> None:
    procedure = SupervisedProcedure(DenseNetwork((3,), output=2), learning_rate=0.4, schedule="linear")
    batch = Batch(torch.rand(2, 3, generator=seeded()), torch.tensor([0, 1]))
    procedure.step(batch, context(progress=0.75))
    assert procedure.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_max_norm_holds_after_every_step_and_leaves_short_weights_alone() -> None:
    network = DenseNetwork((3, 4), output=2, generator=seeded())
    with torch.no_grad():
        network.linear_layers[0].weight[0] *= 100
    before = network.linear_layers[0].weight.detach().clone()
    limit_incoming_weights(network, 2.0)
    after = network.linear_layers[0].weight.detach()
    assert float(after[0].norm()) == pytest.approx(2.0)
    assert torch.equal(after[1:], before[1:])
    procedure = SupervisedProcedure(network, optimizer="sgd", learning_rate=100.0, max_norm=0.5)
    procedure.step(Batch(torch.rand(4, 3, generator=seeded()), torch.tensor([0, 1, 0, 1])), context())
    for layer in network.linear_layers:
        assert float(layer.weight.detach().norm(dim=1).max()) <= 0.5 * (1 + 1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_half_of_the_loss_is_that_of_the_cases_moved_the_way_that_hurts(optimizer: str) -> None:
    x, y, weight = (
        torch.rand(6, 3, generator=seeded(1)),
        torch.tensor([0, 1, 0, 1, 1, 0]),
        torch.rand(6, generator=seeded(3)),
    )
    network = DenseNetwork((3, 4), activation="tanh", output=2, generator=seeded(2))
    twin = DenseNetwork((3, 4), activation="tanh", output=2, generator=seeded(2))

    def mean_loss(x: Tensor) -> Tensor:
        losses = torch.nn.functional.cross_entropy(twin(x), y, reduction="none")
        return (losses * weight).sum() / weight.sum()

    by_x = torch.autograd.functional.jacobian(mean_loss, x)
    assert isinstance(by_x, Tensor)
    both = (mean_loss(x) + mean_loss(x + 0.1 * by_x.sign())) / 2
    assert bool(mean_loss(x + 0.1 * by_x.sign()) > mean_loss(x))
    both.backward()
    settings: dict[str, Any] = {"optimizer": optimizer, "learning_rate": 0.25, "momentum": 0.0, "lbfgs_steps": 1}
    procedure = SupervisedProcedure(network, adversarial=0.1, **settings)
    metrics = procedure.step(Batch(x, y, weight=weight), context())
    torch.testing.assert_close(torch.as_tensor(metrics["loss"]), both.detach())
    if optimizer == "sgd":
        for mine, other in zip(network.parameters(), twin.parameters(), strict=True):
            assert other.grad is not None
            torch.testing.assert_close(mine.detach(), (other - 0.25 * other.grad).detach())
    assert not x.requires_grad, "what the data source keeps stays as it is"


def test_biases_do_not_decay() -> None:
    network = DenseNetwork((3,), output=2, generator=seeded())
    procedure = SupervisedProcedure(network, weight_decay=0.5)
    decays = {p: group["weight_decay"] for group in procedure.optimizer.param_groups for p in group["params"]}
    layer = network.linear_layers[0]
    assert (decays[layer.weight], decays[layer.bias]) == (0.5, 0.0)


def test_soft_labels_and_label_smoothing_agree() -> None:
    x, y = torch.rand(4, 3, generator=seeded(1)), torch.tensor([0, 1, 2, 1])
    soft = torch.nn.functional.one_hot(y, 3).float() * 0.7 + 0.1
    losses = []
    for labels, smoothing in ((y, 0.3), (soft, 0.0)):
        network = DenseNetwork((3,), output=3, generator=seeded(2))
        metrics = SupervisedProcedure(network, label_smoothing=smoothing).step(Batch(x, labels), context())
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "y", "sentence"),
    [
        ({}, torch.tensor([0, 3]), "class indices from 0 to 1. Got 0 to 3"),
        ({}, torch.tensor([-1, 1]), "Got -1 to 1"),
        ({}, torch.rand(2, 5, generator=seeded()), "must have 2 columns"),
        ({}, None, "must have labels or targets y"),
        ({"loss": "mse"}, torch.rand(2, 3, generator=seeded()), r"shape of the outputs, \(2, 2\). Got \(2, 3\)"),
        ({"loss": "hinge"}, None, "loss must be one of"),
        ({"optimizer": "adamm"}, None, "Did you mean 'adam'"),
        ({"learning_rate": 0.0}, None, "learning_rate must be above 0"),
        ({"max_norm": -1.0}, None, "max_norm must be above 0"),
        ({"max_norm": "long"}, None, "max_norm must be a number. Got max_norm=.long."),
        ({"learning_rate": float("nan")}, None, "learning_rate must be a finite number. Got learning_rate=nan"),
        ({"adversarial": float("inf")}, None, "adversarial must be a finite number. Got adversarial=inf"),
        ({"adversarial": -0.1}, None, "adversarial must be at least 0"),
        ({"schedule": "cosin"}, None, "Did you mean 'cosine'"),
    ],
)
def test_wrong_settings_and_labels(settings: dict[str, Any], y: Tensor | None, sentence: str) -> None:
    with pytest.raises(DeepBeliefError, match=sentence):
        SupervisedProcedure(DenseNetwork((3,), output=2), **settings).start(Batch(torch.rand(2, 3), y), seeded())
