"""CycleGAN: the written objective, the history, exact resume, and a pairing that can be known is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.adversarial.cycle_gan import CycleGAN, with_unpaired
from deepbelief.adversarial.cycle_learning import CycleLearning, History
from deepbelief.adversarial.losses import LOSSES, AdversarialLoss
from deepbelief.data.source import ArraySource
from deepbelief.errors import InvalidDataError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.protocols import Coder, Density, Sampler
from deepbelief.storage import load_model, save_model, state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.oracle.checks import make_context
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value

TINY_RATE = 1e-40


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_model(n_x: int = 2, n_y: int = 2, hidden: int = 5, values: str = "real") -> CycleGAN:
    generator = stream()

    def network(n_in: int, n_out: int) -> DenseNetwork:
        return DenseNetwork((n_in, hidden), activation="tanh", output=n_out, generator=generator)

    return CycleGAN(network(n_x, n_y), network(n_y, n_x), network(n_x, 1), network(n_y, 1), values=values)


def test_it_is_a_coder_and_comes_back_from_a_folder(tmp_path: Any) -> None:
    model = small_model(3, 2, values="unit")
    assert isinstance(model, Coder)
    assert not isinstance(model, Density | Sampler)
    again = load_model(save_model(model, tmp_path / "model"))
    x = torch.rand(4, 3, generator=stream())
    assert torch.equal(model.decode(model.encode(x)), again.decode(again.encode(x)))
    assert torch.equal(model.scores_y(model.encode(x)), again.scores_y(again.encode(x)))


def written(model: CycleGAN, x: Tensor, y: Tensor, cycle: float, identity: float) -> tuple[Tensor, Tensor]:
    """Both objectives as the paper prints them."""
    there, back = model.there, model.back
    wins = 0.5 * ((model.critic_y(there(x)) - 1) ** 2).mean() + 0.5 * ((model.critic_x(back(y)) - 1) ** 2).mean()
    again = (back(there(x)) - x).abs().mean() + (there(back(y)) - y).abs().mean()
    same = (there(y) - y).abs().mean() + (back(x) - x).abs().mean()
    right = 0.5 * ((model.critic_x(x) - 1) ** 2).mean() + 0.5 * ((model.critic_y(y) - 1) ** 2).mean()
    wrong = 0.5 * (model.critic_x(back(y).detach()) ** 2).mean() + 0.5 * (model.critic_y(there(x).detach()) ** 2).mean()
    return wins + cycle * again + identity * same, right + wrong


def gradient_gap() -> float:
    """The largest difference between a step's gradients and the written ones, relative to the largest entry."""
    model = small_model().double()
    x, y = torch.randn(2, 9, 2, dtype=torch.float64, generator=stream(1))
    groups = [[*model.there.parameters(), *model.back.parameters()]]
    groups.append([*model.critic_x.parameters(), *model.critic_y.parameters()])
    values = written(model, x, y, 3.0, 0.5)
    wanted = [torch.autograd.grad(value, group) for value, group in zip(values, groups, strict=True)]
    rule = CycleLearning(model, 2, learning_rate=TINY_RATE, cycle=3.0, identity=0.5)
    rule.step(Batch(torch.cat([x, y], 1)), make_context(stream()))
    gaps = []
    for group, gradients in zip(groups, wanted, strict=True):
        found = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in group])
        right = torch.cat([g.flatten() for g in gradients])
        gaps.append(float((found - right).abs().max() / right.abs().max()))
    return max(gaps)


def test_gradients_are_those_of_the_written_objective() -> None:
    assert gradient_gap() < 1e-9


def test_planted_confusions_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = LOSSES["lsgan"]
    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, "lsgan", AdversarialLoss(kind.fake, kind.real, kind.generator, kind.middle))
        assert gradient_gap() > 1e-3
    with monkeypatch.context() as patch:
        patch.setattr(CycleGAN, "decode", CycleGAN.encode)
        assert gradient_gap() > 1e-3


def test_history_gives_each_case_back_or_an_old_one_and_keeps_as_many() -> None:
    history, generator = History(10), stream()
    first = torch.arange(8.0).unsqueeze(1)
    assert torch.equal(history.mix(first, generator), first)
    seen, replaced = 8, 0
    for _ in range(400):
        assert history.cases is not None
        new = torch.arange(seen, seen + 6.0).unsqueeze(1)
        before = {float(v) for v in history.cases}
        given = history.mix(new, generator)
        after = {float(v) for v in history.cases}
        assert len(after) == len(history.cases) == 10
        assert before | {float(v) for v in new} == after | {float(v) for v in given}
        seen, replaced = seen + 6, replaced + int((given < new[0]).sum())
    counts = torch.tensor([replaced, 2400 - 2 - replaced])  # the first two found room
    assert counts_p_value(counts, torch.tensor([0.5, 0.5])) > FALSE_ALARM
    assert torch.equal(History(0).mix(first, generator), first)
    assert History(3).mix(first, generator).shape == first.shape


def trained(resume_from: Any = None, **settings: Any) -> bytes:
    x, y = torch.randn(23, 2, generator=stream()), torch.randn(17, 3, generator=stream(1))
    model = small_model(2, 3)
    rule = CycleLearning(model, 2, learning_rate=0.01, history=8)
    source = ArraySource(x, batch_size=5, transform=with_unpaired(y))
    Trainer(epochs=4, progress=False, device="cpu", **settings).fit(rule, source, resume_from=resume_from)
    return state_to_bytes({"module": dict(model.state_dict()), "procedure": rule.state_dict()})


def test_resumed_is_never_stopped_bit_for_bit(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained()
    trained(max_steps=11, checkpoint_dir=tmp_path)
    assert trained(tmp_path / "checkpoint.safetensors") == whole
    load = CycleLearning.load_state_dict
    forgetful = {"made_x": None}
    monkeypatch.setattr(CycleLearning, "load_state_dict", lambda self, state: load(self, {**state, **forgetful}))
    assert trained(tmp_path / "checkpoint.safetensors") != whole


def test_the_averages_are_the_written_ones_and_translate() -> None:
    """Against sums of weights kept by hand; with a decay of 0 they are the generators."""
    x, y = torch.randn(6, 2, generator=stream(1)), torch.randn(6, 3, generator=stream(2))
    for averaging in (0.0, 0.25):
        model = small_model(2, 3)
        rule, batch = CycleLearning(model, 2, learning_rate=0.1, averaging=averaging), Batch(torch.cat([x, y], 1))
        rule.start(batch, stream())
        generators = ((model.there, model.averaged_there), (model.back, model.averaged_back))
        wanted = [[p.detach().clone() for p in network.parameters()] for network, _ in generators]
        for step in range(1, 5):
            rule.step(batch, make_context(stream()))
            decay = min(averaging, (1 + step) / (10 + step))
            for means, (network, _) in zip(wanted, generators, strict=True):
                means[:] = [decay * a + (1 - decay) * p for a, p in zip(means, network.parameters(), strict=True)]
        for means, (_, averaged) in zip(wanted, generators, strict=True):
            for mean, found in zip(means, averaged.parameters(), strict=True):
                torch.testing.assert_close(mean.detach(), found)
        same = torch.equal(model.encode(x), model.encode(x, averaged=False))
        assert same is (averaging == 0)
        assert torch.equal(model.decode(y), model.averaged_back(y))


def test_identity_needs_sets_of_one_width() -> None:
    with pytest.raises(InvalidDataError, match="Got widths 2 and 3"):
        CycleLearning(small_model(2, 3), 2, identity=1.0).start(Batch(torch.zeros(4, 5)), stream())


def two_sided(side: int, seed: int) -> Tensor:
    """Cases with a side, -1 or 1, and a content of the same symmetric law on both."""
    generator = stream(seed)
    noise = torch.randn(1000, 2, generator=generator)
    return torch.stack([side + 0.2 * noise[:, 0], noise[:, 1]], 1)


def test_a_pairing_that_identity_makes_known_is_found() -> None:
    """The laws would let the content be mirrored; a map that leaves cases of Y as they are cannot mirror it."""
    model = small_model(hidden=16)
    rule = CycleLearning(model, 2, learning_rate=0.01, schedule="linear", cycle=5.0, identity=5.0)
    source = ArraySource(two_sided(-1, 1), batch_size=50, transform=with_unpaired(two_sided(1, 2)))
    Trainer(epochs=15, progress=False, device="cpu").fit(rule, source)
    new = two_sided(-1, 3)
    with torch.no_grad():
        there, again = model.encode(new), model.decode(model.encode(new))
    truth = new * torch.tensor([-1.0, 1.0])
    assert (there[:, 0] > 0).all()
    assert float(torch.corrcoef(torch.stack([there[:, 1], truth[:, 1]]))[0, 1]) > 0.95
    assert (again[:, 0] < 0).all()
