"""A step of adversarial learning follows the written objectives, and nothing of one network leaks into the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbelief.adversarial import learning as learning_file
from deepbelief.adversarial.augmentation import Augmentation
from deepbelief.adversarial.gan import GAN
from deepbelief.adversarial.learning import AdversarialLearning
from deepbelief.adversarial.losses import LOSSES, AdversarialLoss, negated
from deepbelief.data.source import ArraySource
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.storage import state_to_bytes
from deepbelief.training.optimization import Descent
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.oracle.checks import make_context

TINY_RATE = 1e-40  # a step that moves nothing
Plant = Callable[[pytest.MonkeyPatch], None]


def small_gan(n_classes: int | None = None, *, seed: int = 0) -> GAN:
    generator = torch.Generator().manual_seed(seed)
    n = n_classes or 0
    networks = (
        DenseNetwork((3 + n, 6), activation="tanh", output=2, generator=generator),
        DenseNetwork((2, 5), activation="tanh", output=n or 1, generator=generator),
    )
    return GAN(*networks, 3, n_classes=n_classes).double()


def small_batch(*, weighted: bool = False, n: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 2, dtype=torch.float64, generator=generator)
    weight = torch.rand(n, dtype=torch.float64, generator=generator) if weighted else None
    return Batch(x, torch.arange(n) % 3, weight)


def gradients(network: nn.Module) -> Tensor:
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in network.parameters()]
    )


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


# -- the written objectives, once more and by themselves ------------------------------------------------------------


def written_value(name: str, data: Tensor, made: Tensor, weight: Tensor) -> Tensor:
    """What the critic lowers, from its scores, as the papers print it."""
    share = weight / weight.sum()
    if name in ("minimax", "ns"):
        return -(share * data.sigmoid().log()).sum() - (1 - made.sigmoid()).log().mean()
    if name == "lsgan":
        return 0.5 * (share * (data - 1) ** 2).sum() + 0.5 * (made**2).mean()
    if name == "rpgan":
        return -(share * (data - made).sigmoid().log()).sum()
    if name == "hinge":
        zero = torch.zeros((), dtype=data.dtype)
        return (share * torch.maximum(zero, 1 - data)).sum() + torch.maximum(zero, 1 + made).mean()
    return made.mean() - (share * data).sum()


def written_generator_value(name: str, made: Tensor, data: Tensor) -> Tensor:
    """What the generator lowers."""
    if name == "rpgan":
        return -(made - data).sigmoid().log().mean()
    if name == "minimax":
        return (1 - made.sigmoid()).log().mean()
    if name == "ns":
        return -made.sigmoid().log().mean()
    return 0.5 * ((made - 1) ** 2).mean() if name == "lsgan" else -made.mean()


def pick(scores: Tensor, labels: Tensor | None) -> Tensor:
    return scores[:, 0] if labels is None else scores.gather(1, labels.unsqueeze(1))[:, 0]


def written_gradients(gan: GAN, name: str, batch: Batch, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of both objectives by automatic differentiation, with the draws that the step makes."""
    stream = torch.Generator().manual_seed(7)
    n = len(batch)
    of_labels = [] if labels is None else [F.one_hot(labels, gan.n_classes).double()]  # type: ignore[arg-type]
    noise = torch.randn(n, 3, dtype=torch.float64, generator=stream)
    made = gan.generator(torch.cat([noise, *of_labels], 1)).detach()
    weight = torch.ones(n, dtype=torch.float64) if batch.weight is None else batch.weight
    value = written_value(name, pick(gan.critic(batch.x), labels), pick(gan.critic(made), labels), weight)
    if name == "wgan-gp":
        share = torch.rand(n, 1, dtype=torch.float64, generator=stream)
        x = (share * batch.x + (1 - share) * made).requires_grad_()
        slopes = torch.autograd.grad(pick(gan.critic(x), labels).sum(), x, create_graph=True)[0]
        value = value + 10 * ((slopes.square().sum(1).sqrt() - 1) ** 2).mean()
    of_critic = torch.autograd.grad(value, list(gan.critic.parameters()), allow_unused=True)
    noise = torch.randn(n, 3, dtype=torch.float64, generator=stream)
    of_made = pick(gan.critic(gan.generator(torch.cat([noise, *of_labels], 1))), labels)
    value = written_generator_value(name, of_made, pick(gan.critic(batch.x), labels))
    of_generator = torch.autograd.grad(value, list(gan.generator.parameters()))
    filled = [torch.zeros_like(p) if g is None else g for p, g in zip(gan.critic.parameters(), of_critic, strict=True)]
    return torch.cat([g.flatten() for g in filled]), torch.cat([g.flatten() for g in of_generator])


def gradient_gap(name: str, n_classes: int | None = None, *, weighted: bool = False) -> float:
    """The largest difference between a step's gradients and the written ones, relative to the largest entry."""
    gan, batch = small_gan(n_classes), small_batch(weighted=weighted)
    wanted = written_gradients(gan, name, batch, batch.y if n_classes else None)
    rule = AdversarialLearning(gan, loss=name, n_critic=1, learning_rate=TINY_RATE, optimizer="sgd", clip=1e9)
    rule.step(batch, make_context(torch.Generator().manual_seed(7)))
    found = gradients(gan.critic), gradients(gan.generator)
    return max(float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("n_classes", [None, 3])
@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_are_those_of_the_written_objective(name: str, n_classes: int | None) -> None:
    assert gradient_gap(name, n_classes, weighted=name != "hinge") < 1e-9


def flipped_generator(patch: pytest.MonkeyPatch) -> None:
    """A generator that helps the critic."""
    kind = LOSSES["ns"]
    wrong = AdversarialLoss(kind.real, kind.fake, lambda s: -kind.generator(s), kind.middle)
    patch.setitem(LOSSES, "ns", wrong)


def swapped_critic(patch: pytest.MonkeyPatch) -> None:
    """A critic with data and generated cases confused."""
    kind = LOSSES["ns"]
    patch.setitem(LOSSES, "ns", AdversarialLoss(kind.fake, kind.real, kind.generator, kind.middle))


def wasserstein_generator(patch: pytest.MonkeyPatch) -> None:
    """The right direction by the wrong loss."""
    kind = LOSSES["ns"]
    patch.setitem(LOSSES, "ns", AdversarialLoss(kind.real, kind.fake, negated, kind.middle))


def leaking_generator(patch: pytest.MonkeyPatch) -> None:
    """A backward pass that leaves gradients wherever it comes by."""

    def step(self: Descent, loss: Tensor, context: Any) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    patch.setattr(Descent, "step", step)


def one_sided_penalty(patch: pytest.MonkeyPatch) -> None:
    """A gradient penalty at the data alone."""
    whole = learning_file.gradient_penalty
    patch.setattr(learning_file, "gradient_penalty", lambda score, real, fake, **o: whole(score, real, real, **o))


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (flipped_generator, "ns"),
        (swapped_critic, "ns"),
        (wasserstein_generator, "ns"),
        (leaking_generator, "ns"),
        (one_sided_penalty, "wgan-gp"),
    ],
)
def test_planted_bugs_are_caught(plant: Plant, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert gradient_gap(name) > 1e-3


# -- who is moved when ----------------------------------------------------------------------------------------------


def test_generator_moves_after_every_third_critic_step_and_each_step_moves_only_its_own() -> None:
    gan, batch = small_gan(), small_batch()
    rule = AdversarialLearning(gan, n_critic=3, learning_rate=0.01, optimizer="sgd")
    context = make_context(torch.Generator().manual_seed(0))
    for number in range(1, 7):
        before = weights(gan.generator), weights(gan.critic), weights(gan.averaged)
        metrics = rule.step(batch, context)
        turn = number % 3 == 0
        assert torch.equal(before[0], weights(gan.generator)) is not turn
        assert torch.equal(before[2], weights(gan.averaged)) is not turn
        assert not torch.equal(before[1], weights(gan.critic))
        assert ("generator_loss" in metrics) is turn
    before = weights(gan.critic)
    rule._generator_step(batch, context)
    assert torch.equal(before, weights(gan.critic))


def test_clipping_bounds_the_critic_and_nothing_else() -> None:
    gan, batch = small_gan(), small_batch()
    rule = AdversarialLearning(gan, loss="wgan", clip=0.05, learning_rate=0.01)
    rule.step(batch, make_context(torch.Generator().manual_seed(0)))
    assert float(weights(gan.critic).abs().max()) <= 0.05 < float(weights(gan.generator).abs().max())


def picture_gan(normalization: str, n_classes: int | None = None, *, critic: str = "none", **options: Any) -> GAN:
    generator = torch.Generator().manual_seed(0)
    n = n_classes or 0
    decoder = ConvolutionalDecoder(4 + n, (1, 5, 6), channels=(3, 4), normalization=normalization, generator=generator)
    how = {"channels": (3, 4), "normalization": critic, "generator": generator, **options}
    return GAN(decoder, ConvolutionalEncoder((1, 5, 6), n or 1, **how), 4, values="unit", n_classes=n_classes)


def scores_depend_on_the_other_half() -> bool:
    """Whether the scores of data change with the generated cases beside them."""
    gan = picture_gan("batch", critic="batch").train()
    rule = AdversarialLearning(gan)
    real, one, other = torch.rand(3, 6, 30, generator=torch.Generator().manual_seed(0))
    first, second = (rule._both_scores(real, fake, None)[0] for fake in (one, other))
    return not torch.equal(first, second)


def test_batch_normalised_critic_sees_data_and_generated_cases_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not scores_depend_on_the_other_half()
    monkeypatch.setattr(learning_file, "has_batch_norm", lambda network: False)
    assert scores_depend_on_the_other_half()


@pytest.mark.parametrize("options", [{"loss": "wgan-gp"}, {"r1": 1.0}, {"r2": 1.0}])
def test_gradient_penalty_refuses_batch_normalisation(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="scores each case by itself"):
        AdversarialLearning(picture_gan("batch", critic="batch"), **options)


def test_start_says_what_does_not_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(InvalidDataError, match="must have labels"):
        AdversarialLearning(small_gan(3)).start(Batch(torch.zeros(2, 2).double()), generator)
    with pytest.raises(InvalidDataError, match=r"from 0 to 2\. Got 0 to 3"):
        AdversarialLearning(small_gan(3)).start(Batch(torch.zeros(2, 2).double(), torch.tensor([0, 3])), generator)
    with pytest.raises(InvalidDataError, match="must have 2 columns"):
        AdversarialLearning(small_gan()).start(Batch(torch.zeros(2, 3).double()), generator)


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_slopes_are_part_of_the_critics_gradient(name: str) -> None:
    batch, found = small_batch(), []
    for weight in (0.0, 2.0):
        gan = small_gan()
        options: dict[str, Any] = {name: weight, "learning_rate": TINY_RATE, "optimizer": "sgd"}
        AdversarialLearning(gan, **options).step(batch, make_context(torch.Generator().manual_seed(0)))
        found.append(gradients(gan.critic))
    z = torch.randn(len(batch), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (batch.x.clone() if name == "r1" else gan.generator(z).detach()).requires_grad_()
    slopes = torch.autograd.grad(gan.critic(x).sum(), x, create_graph=True)[0]
    penalty = slopes.square().sum(1).mean()  # 2 times a half
    parts = torch.autograd.grad(penalty, list(gan.critic.parameters()), allow_unused=True)
    wanted = torch.cat([p.flatten() if p is not None else torch.zeros(1, dtype=torch.float64) for p in parts])
    assert torch.allclose(found[1] - found[0], wanted)


def test_slopes_of_every_third_step_count_three_times() -> None:
    batch, found = small_batch(), []
    for options in ({"r1": 0.5, "r2": 2.0, "slope_every": 3}, {"r1": 1.5, "r2": 6.0}, {}):
        gan, steps = small_gan(), []
        settings: dict[str, Any] = {**options, "learning_rate": TINY_RATE, "optimizer": "sgd"}
        rule, context = AdversarialLearning(gan, **settings), make_context(torch.Generator().manual_seed(0))
        for _ in range(4):
            rule.step(batch, context)
            steps.append(gradients(gan.critic))
        found.append(torch.stack(steps))
    lazy, each, none = found
    assert torch.allclose(lazy[[0, 3]], each[[0, 3]], rtol=1e-12)
    assert torch.equal(lazy[1:3], none[1:3])
    assert not torch.allclose(each[0], none[0])


# -- resuming -------------------------------------------------------------------------------------------------------


class _Averages:
    """The averaged generator once more, from the weights after every step."""

    def __init__(self, gan: GAN) -> None:
        self.mean, self.n = weights(gan.generator), 0

    def count(self, gan: GAN, decay: float) -> None:
        self.n += 1
        d = min(decay, (1 + self.n) / (10 + self.n))
        self.mean = d * self.mean + (1 - d) * weights(gan.generator)


def test_average_is_the_exponential_one() -> None:
    gan = small_gan()
    rule = AdversarialLearning(gan, learning_rate=0.01, averaging=0.9)
    rule.start(small_batch(), torch.Generator().manual_seed(0))
    expected = _Averages(gan)
    for _ in range(30):
        rule.step(small_batch(), make_context(torch.Generator().manual_seed(0)))
        expected.count(gan, 0.9)
    assert torch.allclose(weights(gan.averaged), expected.mean)
    assert not torch.allclose(weights(gan.averaged), weights(gan.generator))


PAIRS: dict[str, Any] = {"loss": "rpgan", "r1": 0.1, "r2": 0.1, "slope_every": 3}


def trained(resume_from: Any = None, *, rule_of: dict[str, Any] | None = None, **settings: Any) -> bytes:
    """Everything that a training with all kinds of state leaves behind."""
    generator = torch.Generator().manual_seed(4)
    source = ArraySource(torch.rand(21, 30, generator=generator), torch.arange(21) % 2, batch_size=5)
    gan = picture_gan("batch", 2, spectral=True)
    change = Augmentation(("translation", "cutout", "color"), (1, 5, 6))
    rule = AdversarialLearning(gan, **(rule_of or {"loss": "hinge", "n_critic": 3}), augment=change, averaging=0.9)
    trainer = Trainer(epochs=3, progress=False, device="cpu", **settings)
    trainer.fit(rule, source, resume_from=resume_from)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.record.history]
    return state_to_bytes({"module": dict(gan.state_dict()), "procedure": rule.state_dict(), "history": rows})


def forgotten_count(patch: pytest.MonkeyPatch) -> None:
    """An average that begins anew."""
    load = AdversarialLearning.load_state_dict

    def wrong(self: AdversarialLearning, state: Any) -> None:
        load(self, {**state, "generator_steps": 0})

    patch.setattr(AdversarialLearning, "load_state_dict", wrong)


def average_outside_the_state(patch: pytest.MonkeyPatch) -> None:
    """An average that is taken from the generator when a training goes on."""
    load = AdversarialLearning.load_state_dict

    def wrong(self: AdversarialLearning, state: Any) -> None:
        load(self, state)
        self.gan.update_average(0.0)

    patch.setattr(AdversarialLearning, "load_state_dict", wrong)


def test_pairs_and_late_slopes_resume_bit_for_bit(tmp_path: Any) -> None:
    whole = trained(rule_of=PAIRS)
    trained(rule_of=PAIRS, max_steps=7, checkpoint_dir=tmp_path)  # between two steps that count slopes
    assert trained(tmp_path / "checkpoint.safetensors", rule_of=PAIRS) == whole


def test_resumed_is_never_stopped_bit_for_bit(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained()
    trained(max_steps=7, checkpoint_dir=tmp_path)
    assert trained(tmp_path / "checkpoint.safetensors") == whole
    for plant in (forgotten_count, average_outside_the_state):
        with monkeypatch.context() as patch:
            plant(patch)
            assert trained(tmp_path / "checkpoint.safetensors") != whole


# -- learning -------------------------------------------------------------------------------------------------------


def test_labels_lead_to_their_own_cases() -> None:
    centres = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    x = centres[y] + 0.3 * torch.randn(600, 2, generator=generator)
    gan = small_gan(3).float()
    rule = AdversarialLearning(gan, learning_rate=0.005, averaging=0.9)
    Trainer(epochs=60, progress=False, device="cpu").fit(rule, ArraySource(x, y, batch_size=60))
    for label in range(3):
        made = gan.sample(200, labels=torch.tensor(label), generator=generator)
        assert torch.cdist(made, centres).argmin(1).eq(label).all()


def test_lone_case_of_a_batch_passes_through_batch_normalisation() -> None:
    gan = picture_gan("batch", critic="batch")
    metrics = AdversarialLearning(gan).step(Batch(torch.rand(1, 30)), make_context(torch.Generator().manual_seed(0)))
    assert all(torch.isfinite(torch.as_tensor(value)) for value in metrics.values())
