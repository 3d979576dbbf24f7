"""Learning of autoencoders: every objective against its formula, its gradient by differences, the loop, the checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.corruption import GaussianNoise, Masking
from deepbelief.autoencoders.learning import AutoencoderLearning
from deepbelief.autoencoders.penalties import Contraction, L1Codes, RateKL
from deepbelief.data.source import ArraySource
from deepbelief.errors import DeepBeliefError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.protocols import Procedure
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian
from tests.autoencoders.zoo import KINDS, cases, make
from tests.oracle.checks import make_context

close = torch.testing.assert_close


def weights_of(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator).double() + 0.1


def mean(values: Tensor, weight: Tensor) -> Tensor:
    return sum(w * v for w, v in zip(weight, values, strict=True)) / weight.sum()  # type: ignore[return-value]


def rate_kl(z: Tensor, weight: Tensor, target: float) -> Tensor:
    total = torch.zeros((), dtype=z.dtype)
    for column in z.T:
        r = mean(column, weight)
        wanted, found = torch.stack([r * 0 + target, r * 0 + 1 - target]), torch.stack([r, 1 - r])
        total = total + torch.nn.functional.kl_div(found.log(), wanted, reduction="sum")
    return total


def squared_norms(net: Any, x: Tensor) -> Tensor:
    rows = [torch.autograd.functional.jacobian(lambda row: net.encode(row[None])[0], row) for row in x]
    return torch.stack([row.square().sum() for row in rows])


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_is_its_formula(kind: str, generator: torch.Generator) -> None:
    net, rate = make(kind, generator), 0.2
    x, weight = cases(net, 6, generator), weights_of(6, generator)
    z = net.encode(x)
    prices = [L1Codes(0.7), Contraction(1.3)]
    in_unit_interval = bool(z.min() >= 0 and z.max() <= 1)
    learning = AutoencoderLearning(net, penalties=[*prices, RateKL(0.4, rate)] if in_unit_interval else prices)
    parts = learning.objective(x, generator, weight)
    close(parts["reconstruction"], -mean(net.log_prob(x), weight))
    close(parts["l1"], mean(z.abs().sum(1), weight))
    close(parts["contraction"], mean(squared_norms(net, x), weight))
    wanted = parts["reconstruction"] + 0.7 * parts["l1"] + 1.3 * parts["contraction"]
    if in_unit_interval:
        close(parts["rate_kl"], rate_kl(z, weight, rate))
        wanted = wanted + 0.4 * parts["rate_kl"]
    close(parts["loss"], wanted)
    squared = AutoencoderLearning(net, loss="squared_error").objective(x, generator, weight)
    close(squared["loss"], mean((x - net(x)).square().sum(1), weight))


@pytest.mark.parametrize("kind", ["one layer", "deep tied", "gaussian", "convolutional", "unrolled"])
def test_the_step_goes_down_the_gradient_of_the_objective(kind: str, generator: torch.Generator) -> None:
    """Central differences of the objective along a random direction, with the corruption's draws repeated."""
    net = make(kind, generator)
    batch = Batch(cases(net, 6, generator), weight=weights_of(6, generator))
    plan: dict[str, Any] = {"corruption": GaussianNoise(0.1), "penalties": [L1Codes(0.3), Contraction(0.5)]}
    learning = AutoencoderLearning(net, optimizer="sgd", learning_rate=0.01, momentum=0.0, **plan)
    before = [p.detach().clone() for p in net.parameters()]
    directions = [torch.randn(p.shape, generator=generator).double() * p.requires_grad for p in net.parameters()]
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, start, way in zip(net.parameters(), before, directions, strict=True):
                p.copy_(start + sign * 1e-5 * way)
        values.append(
            float(learning.objective(batch.x, torch.Generator().manual_seed(5), batch.weight)["loss"].detach())
        )
    with torch.no_grad():
        for p, start in zip(net.parameters(), before, strict=True):
            p.copy_(start)
    learning.step(batch, make_context(torch.Generator().manual_seed(5)))
    gradients = [(start - p.detach()) / 0.01 for p, start in zip(net.parameters(), before, strict=True)]
    slope = sum(float((g * way).sum()) for g, way in zip(gradients, directions, strict=True))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-6)


def test_a_weight_of_two_is_a_case_seen_twice_and_zero_is_a_case_not_seen(generator: torch.Generator) -> None:
    x = cases(make("deep", generator), 4, generator)
    weighted = Batch(x, weight=torch.tensor([2.0, 1.0, 0.0, 1.0]).double())
    nets = []
    for batch in (weighted, Batch(x[[0, 0, 1, 3]])):
        net = make("deep", torch.Generator().manual_seed(3))
        plan: list[Any] = [L1Codes(0.1), RateKL(0.2, 0.1), Contraction(0.1)]
        AutoencoderLearning(net, penalties=plan, optimizer="sgd", learning_rate=0.5).step(
            batch, make_context(generator)
        )
        nets.append(net)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        close(a, b)


def digits() -> Tensor:
    return torch.tensor(load_digits().data / 16, dtype=torch.float32)


def trained(net: Any, source: ArraySource, epochs: int = 4, **options: Any) -> Trainer:
    plan = {"corruption": Masking(0.2), "penalties": [RateKL(0.1, 0.1)], "learning_rate": 0.01, "schedule": "cosine"}
    trainer = Trainer(
        epochs=epochs, progress=False, device="cpu", **{k: v for k, v in options.items() if k != "resume"}
    )
    trainer.fit(AutoencoderLearning(net, **plan), source, resume_from=options.get("resume"))  # type: ignore[arg-type]
    return trainer


def small_net() -> Autoencoder:
    return Autoencoder.dense(Bernoulli(64), [16, 4], code="sigmoid", generator=torch.Generator().manual_seed(0))


class Stop(Exception):
    """Ends a training between two checkpoints."""


class StopAt:
    """A callback that kills the training after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def __getattr__(self, name: str) -> Any:
        return lambda *a: None

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.at:
            raise Stop


def test_resumed_is_never_stopped_bit_for_bit(tmp_path: Path) -> None:
    source = ArraySource(digits()[:130], batch_size=20)
    whole = small_net()
    trained(whole, source)
    with pytest.raises(Stop):
        trained(small_net(), source, checkpoint_dir=tmp_path, checkpoint_every=4, callbacks=[StopAt(17)])
    again = small_net()
    trained(again, source, resume=tmp_path)
    assert state_to_bytes(again.state_dict()) == state_to_bytes(whole.state_dict())


@pytest.mark.parametrize("visible", [Bernoulli(64), Gaussian(64)], ids=["bits", "real numbers"])
def test_it_learns_better_codes_than_as_many_principal_components(visible: Any) -> None:
    x = digits()
    start = torch.Generator().manual_seed(0)
    net = Autoencoder.dense(visible, [48, 2], learned_scale=False, generator=start)  # every pixel's error counts alike
    net.match_data(x)
    Trainer(epochs=30, progress=False, device="cpu").fit(
        AutoencoderLearning(net, learning_rate=0.01, schedule="linear"), ArraySource(x, batch_size=100)
    )
    _, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    of_components = float(s[2:].square().sum() / len(x))
    with torch.no_grad():
        assert float((x - net(x)).square().sum(1).mean()) < of_components


def test_a_constant_column_leaves_the_density_finite() -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 3.0
    net = Autoencoder.dense(Gaussian(4), [2])
    net.match_data(x)
    Trainer(epochs=200, progress=False, device="cpu").fit(
        AutoencoderLearning(net, learning_rate=0.1), ArraySource(x, batch_size=60)
    )
    assert float(net.visible.log_precision.detach().max()) <= 9.2104  # type: ignore[operator, arg-type]
    assert torch.isfinite(net.log_prob(x)).all()


def test_what_does_not_fit_gets_a_sentence(generator: torch.Generator) -> None:
    first, net = Batch(torch.zeros(3, 12).double()), make("one layer, linear", generator)
    assert isinstance(AutoencoderLearning(net), Procedure)

    def start(**options: Any) -> None:
        AutoencoderLearning(options.pop("module", net), **options).start(first, generator)

    relu = Autoencoder.dense(Bernoulli(12), [4], code="relu").double()
    batched = Autoencoder.convolutional(Bernoulli(12), (1, 3, 4), 2, normalization="batch").double()
    narrow = Autoencoder(DenseNetwork((12,), output=2), DenseNetwork((2,), output=5), Bernoulli(12)).double()
    for sentence, options in (
        (r"loss must be one of .* Did you mean 'log_prob'", {"loss": "logprob"}),
        ("penalties must be of different kinds", {"penalties": [L1Codes(1), L1Codes(2)]}),
        (r"codes must lie in \[0, 1\] to have a rate", {"penalties": [RateKL(1.0)]}),
        (r"codes must lie in \[0, 1\] to have a rate", {"penalties": [RateKL(1.0)], "module": relu}),
        ("must code each case alone. Got batch norm", {"penalties": [Contraction(1.0)], "module": batched}),
        ("module must have visible. Got DenseNetwork", {"module": DenseNetwork((12, 2))}),
        (r"decoder must give \(3, 12\), as the data. Got \(3, 5\)", {"module": narrow}),
        ("learning_rate must be above 0", {"learning_rate": 0.0}),
    ):
        with pytest.raises(DeepBeliefError, match=sentence):
            start(**options)
    with pytest.raises(DeepBeliefError, match=r"X must have shape \(cases, 12\). Got \(3, 5\)"):
        AutoencoderLearning(net).start(Batch(torch.zeros(3, 5).double()), generator)
    for make_bad, sentence in (
        (lambda: L1Codes(-1.0), "weight must be at least 0"),
        (lambda: RateKL(1.0, 1.0), "target must lie between 0 and 1"),
        (lambda: Contraction(-1.0), "weight must be at least 0"),
    ):
        with pytest.raises(DeepBeliefError, match=sentence):
            make_bad()
