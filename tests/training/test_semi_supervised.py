"""Virtual adversarial training: the direction, the step by autodiff of the whole, resuming, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from deepbelief.data.source import ArraySource
from deepbelief.errors import DeepBeliefError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.protocols import Procedure, StepContext
from deepbelief.storage import state_to_bytes
from deepbelief.training.processes import Processes
from deepbelief.training.semi_supervised import VirtualAdversarialProcedure
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context() -> StepContext:
    alone = Processes(torch.device("cpu"))
    return StepContext(0, 0, 0.0, seeded(), alone.average, alone.autocast)


def few(n: int = 6, weight: Tensor | None = None) -> Batch:
    return Batch(torch.rand(n, 3, generator=seeded(1)), torch.arange(n) % 4, weight)


def network(*sizes: int) -> DenseNetwork:
    return DenseNetwork(sizes, output=4, activation="tanh", generator=seeded(2)).double()


def doubled(batch: Batch) -> Batch:
    return Batch(batch.x.double(), batch.y, None if batch.weight is None else batch.weight.double())


def test_it_is_a_procedure() -> None:
    assert isinstance(VirtualAdversarialProcedure(network(3, 5), few(), radius=1.0), Procedure)


def test_two_classes_of_a_linear_network_are_moved_along_the_difference_of_their_weights() -> None:
    """The divergence then hangs on that direction alone, so that one step of power iteration finds it."""
    net = DenseNetwork((7,), output=2, generator=seeded(2)).double()
    few_of_both = Batch(torch.rand(2, 7, generator=seeded(3)), torch.tensor([0, 1]))
    rule = VirtualAdversarialProcedure(net, few_of_both, radius=0.3)
    x = torch.rand(50, 7, generator=seeded(1), dtype=torch.float64)
    move = rule._moved(x, F.log_softmax(net(x), 1).detach(), context()) - x
    weight = next(net.parameters()).detach()  # (classes, columns)
    along = weight[1] - weight[0]
    torch.testing.assert_close(move.norm(dim=1), torch.full((50,), 0.3, dtype=torch.float64))
    torch.testing.assert_close((move @ along).abs(), 0.3 * along.norm().expand(50), rtol=1e-3, atol=0)


def test_the_move_is_worse_than_random_ones_and_no_worse_than_the_worst() -> None:
    net = network(3, 20)
    rule = VirtualAdversarialProcedure(net, few(), radius=0.01)
    x = torch.rand(40, 3, generator=seeded(3), dtype=torch.float64)
    log_p = F.log_softmax(net(x), 1).detach()

    def divergence(moves: Tensor) -> Tensor:
        return (log_p.exp() * (log_p - F.log_softmax(net(x + moves), 1))).sum(1).detach()

    found = divergence(rule._moved(x, log_p, context()) - x)
    directions = torch.randn(2000, 1, 3, generator=seeded(4), dtype=torch.float64)
    others = torch.stack([divergence(0.01 * d / d.norm()) for d in directions])
    assert bool((found <= 1.001 * others.amax(0)).all())
    # one step of power iteration: of the curvature's directions the first is a little more than found by chance
    assert float((found / others.amax(0)).mean()) > 0.8 > float((others / others.amax(0)).mean())


@pytest.mark.parametrize("information", [0.0, 0.7])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_of_sgd_is_the_gradient_of_the_whole(information: float, weighted: bool) -> None:
    weight = torch.tensor([2.0, 1, 1, 0.5, 1, 0]) if weighted else None
    labelled, x = doubled(few(weight=weight)), torch.rand(30, 3, generator=seeded(3), dtype=torch.float64)
    of_x = torch.rand(30, generator=seeded(7)).double() if weighted else None
    net, twin = network(3, 5), network(3, 5)
    options: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.0}
    rule = VirtualAdversarialProcedure(net, labelled, radius=0.4, information=information, **options)
    moved = rule._moved(x, F.log_softmax(twin(x), 1).detach(), context())
    metrics = rule.step(Batch(x, weight=of_x), context())
    shares = [torch.ones(n).double() if w is None else w for n, w in ((6, labelled.weight), (30, of_x))]
    few_, many = (share / share.sum() for share in shares)
    p = F.softmax(twin(x), 1)
    assert labelled.y is not None
    terms = [
        few_ @ F.cross_entropy(twin(labelled.x), labelled.y, reduction="none"),
        many @ F.kl_div(F.log_softmax(twin(moved), 1), p.detach(), reduction="none").sum(1),
        information * (many @ torch.special.entr(p).sum(1) - torch.special.entr(many @ p).sum()),
    ]
    loss = torch.stack(terms).sum()
    loss.backward()
    torch.testing.assert_close(float(metrics["loss"]), loss.item())
    for new, old in zip(net.parameters(), twin.parameters(), strict=True):
        assert old.grad is not None
        torch.testing.assert_close(new, old - 0.5 * old.grad)


@pytest.mark.parametrize("what", ["no weight", "a class that is never given"])
def test_a_step_stays_finite(what: str) -> None:
    net, x = network(3, 5), torch.rand(30, 3, generator=seeded(3), dtype=torch.float64)
    rule = VirtualAdversarialProcedure(net, doubled(few(2)), radius=0.4)
    if what == "no weight":
        batch = Batch(x, weight=torch.zeros(30).double())
    else:
        batch, last = Batch(x), list(net.parameters())[-1]
        last.data[3] = -1e4
    metrics = rule.step(batch, context())
    assert all(torch.isfinite(torch.as_tensor(value)) for value in metrics.values())
    assert all(bool(p.isfinite().all()) for p in net.parameters())


def test_labelled_cases_are_drawn_anew_for_each_step_and_resumed_bit_for_bit(tmp_path: Path) -> None:
    x, labelled = torch.rand(60, 3, generator=seeded(3)), few(40)

    def train(epochs: int, resume: Path | None = None) -> bytes:
        net = DenseNetwork((3, 5), output=4, generator=seeded(2))
        rule = VirtualAdversarialProcedure(net, labelled, radius=0.4, n_labelled=8)
        trainer = Trainer(epochs=epochs, progress=False, device="cpu", checkpoint_dir=tmp_path if epochs == 2 else None)
        trainer.fit(rule, ArraySource(x, batch_size=20), resume_from=resume)
        return state_to_bytes({"net": net.state_dict(), "rule": rule.state_dict()})

    whole = train(4)
    train(2)
    assert train(4, tmp_path) == whole
    rule, generator = VirtualAdversarialProcedure(network(3, 5), labelled, radius=0.4, n_labelled=8), seeded()
    drawn = [rule._some(generator, torch.device("cpu")).x for _ in range(2)]
    assert not torch.equal(*drawn)
    assert all(len(rows) == 8 for rows in drawn)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"radius": 0.0}, "radius must be above 0"),
    ({"radius": "far"}, "radius must be"),
    ({"information": -1.0}, "information must be"),
    ({"n_labelled": 0}, "n_labelled must be"),
    ({"optimizer": "lbfgs"}, "optimizer='lbfgs'"),
    ({"adversarial": 0.1}, "adversarial=0.1"),
    ({"loss": "mse"}, "loss='mse'"),
    ({"labelled": Batch(torch.zeros(3, 3))}, "Label a few cases"),
    ({"labelled": Batch(torch.zeros(0, 3), torch.zeros(0).long())}, "Label a few cases"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG)
def test_what_does_not_go_is_said(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeepBeliefError, match=sentence):
        VirtualAdversarialProcedure(network(3, 5), **{"labelled": few(), "radius": 1.0} | options)


def test_cases_of_other_columns_and_unknown_classes_are_refused_before_the_first_step() -> None:
    rule = VirtualAdversarialProcedure(DenseNetwork((3, 5), output=4, generator=seeded()), few(), radius=1.0)
    with pytest.raises(DeepBeliefError, match="shape of those with"):
        rule.start(Batch(torch.zeros(5, 2)), seeded())
    rule = VirtualAdversarialProcedure(DenseNetwork((3, 5), output=3, generator=seeded()), few(), radius=1.0)
    with pytest.raises(DeepBeliefError, match="class indices from 0 to 2"):
        rule.start(Batch(torch.zeros(5, 3)), seeded())


def test_unlabelled_digits_teach_what_thirty_labels_do_not() -> None:
    data = load_digits()
    x, y = torch.tensor(data.data / 16).float(), torch.tensor(data.target).long()
    rows = torch.cat([(y == c).nonzero()[:3, 0] for c in range(10)])
    errors = []
    for few_labels in (True, False):
        net = DenseNetwork((64, 100), output=10, generator=seeded(2))
        if few_labels:
            rule: SupervisedProcedure = SupervisedProcedure(net, learning_rate=3e-3)
            source = ArraySource(x[rows], y[rows], batch_size=30, seed=0)
            epochs = 300
        else:
            rule = VirtualAdversarialProcedure(net, Batch(x[rows], y[rows]), radius=0.6, learning_rate=3e-3)
            source, epochs = ArraySource(x, batch_size=100, seed=0), 40
        Trainer(epochs=epochs, progress=False, device="cpu").fit(rule, source)
        errors.append(float((net(x).argmax(1) != y).float().mean()))
    assert errors[1] < 0.6 * errors[0]
