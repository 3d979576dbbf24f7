"""RBMs under a VAE: the bound of the whole stack against enumeration, and greedy learning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.dbn import DBN
from deepbelief.belief.vae_stack import VAEStack, train_vae_stack
from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Coder, Density, Sampler, Storable
from deepbelief.storage import load_model, save_model, state_to_bytes
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.variational import all_bits, log_p_by_quadrature, tiny_vae

Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def mean_for_draw(patch: pytest.MonkeyPatch) -> None:
    """Hidden means passed up where draws belong."""
    patch.setattr(Bernoulli, "sample", lambda self, inputs, generator=None: self.mean(inputs))


def tiny() -> VAEStack:
    """Three bits over three bits over three bits, under a VAE whose likelihood is known by quadrature."""
    dbn = DBN.of_sizes([3, 3, 3]).double()
    g = torch.Generator().manual_seed(2)
    for parameter in dbn.parameters():
        parameter.data.normal_(generator=g)
    return VAEStack(dbn, tiny_vae(scale=1.0))


def exact_log_p(stack: VAEStack) -> Tensor:
    """``log p(x)`` of all eight cases: the top's law pushed down through tables of conditionals."""
    bits, p = all_bits(), log_p_by_quadrature(stack.top, all_bits()).exp()
    for rbm in reversed(list(stack.below.layers)):
        assert isinstance(rbm, RBM)
        on = torch.sigmoid(bits @ rbm.weight.T + rbm.visible.bias)  # (hidden state, visible unit)
        table = torch.exp(torch.log(on) @ bits.T + torch.log1p(-on) @ (1 - bits.T))  # (hidden state, visible state)
        p = p @ table
    return p.log()


@pytest.mark.parametrize("plant", [no_bug, mean_for_draw])
def test_weights_have_the_likelihood_as_their_mean(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    stack = tiny()
    exact = exact_log_p(stack).detach()
    assert exact.exp().sum().item() == pytest.approx(1)
    plant(monkeypatch)
    with torch.no_grad():
        log_w = stack.log_weights(all_bits(), 20_000, generator=generator)
    assert (means_p_value((log_w - exact).exp(), 1.0) > FALSE_ALARM) == (plant is no_bug)


def test_bound_and_samples(generator: torch.Generator) -> None:
    stack, exact = tiny(), exact_log_p(tiny()).detach()
    one, many = (stack.log_likelihood(all_bits(), n_samples=n, generator=generator) for n in (2, 20_000))
    assert float(one) < exact.mean().item()
    assert abs(float(many) - exact.mean().item()) < 6 * many.stderr
    draws = stack.sample(40_000, generator=generator)
    counts = torch.bincount((draws @ torch.tensor([4.0, 2.0, 1.0], dtype=draws.dtype)).long(), minlength=8)
    assert counts_p_value(counts, exact.exp()) > FALSE_ALARM


def patterns() -> Tensor:
    g = torch.Generator().manual_seed(7)
    causes = torch.rand(150, 2, generator=g) < 0.5
    return (causes.repeat_interleave(3, 1) ^ (torch.rand(150, 6, generator=g) < 0.05)).float()


def train(**options: Any) -> VAEStack:
    g = torch.Generator().manual_seed(1)
    stack = VAEStack(DBN.of_sizes([6, 8], generator=g), dense_vae(Bernoulli(8), [2], hidden=[[16]], generator=g))
    settings = LearningSettings(learning="cd", epochs=80, learning_rate=1.0)
    plan: dict[str, Any] = {"top_epochs": 50, "top": {"k": 3, "learning_rate": 1e-2}, "averaging": 0.9}
    plan["trainer_options"] = {"progress": False, "device": "cpu"}
    train_vae_stack(stack, ArraySource(patterns(), batch_size=75), settings, **plan, **options)
    return stack


def test_learning_is_greedy_learns_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    stack, x = train(), patterns()
    independent = torch.distributions.Bernoulli(x.mean(0)).log_prob(x).sum(1).mean().item()
    bound = stack.log_likelihood(x, n_samples=300, generator=generator)
    assert float(bound) - 6 * bound.stderr > independent
    steps, step = iter(range(10_000)), ELBO.step

    def stopping(procedure: ELBO, batch: Any, context: Any) -> Any:
        if next(steps) == 50:
            raise KeyboardInterrupt
        return step(procedure, batch, context)

    with monkeypatch.context() as patch:
        patch.setattr(ELBO, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(checkpoint_dir=tmp_path)
    resumed = train(checkpoint_dir=tmp_path, resume=True)
    assert state_to_bytes(resumed.state_dict()) == state_to_bytes(stack.state_dict())


def test_capabilities_storage_and_errors(tmp_path: Path) -> None:
    stack = tiny()
    for capability in (Sampler, Density, Coder, Storable):
        assert isinstance(stack, capability)
    save_model(stack, tmp_path / "stack")
    twin = load_model(tmp_path / "stack")
    assert torch.equal(twin.decode(twin.encode(all_bits())), stack.decode(stack.encode(all_bits())))
    with pytest.raises(InvalidArgumentError, match=r"top must have 4 bernoulli visible units.*Got 3 bernoulli"):
        VAEStack(DBN.of_sizes([3, 4]), tiny_vae())
