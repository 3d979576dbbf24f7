"""RBMs under a VAE: the bound of the whole stack and its completions against enumeration, and greedy learning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief import stack_completion
from deepbelief.belief.dbn import DBN
from deepbelief.belief.stack_completion import State, metropolis_step, random_part
from deepbelief.belief.vae_stack import VAEStack, train_vae_stack
from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.protocols import Coder, Completer, Density, Sampler, Storable
from deepbelief.storage import load_model, save_model, state_to_bytes
from deepbelief.types import Clamp
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.side_by_side import SideBySide
from tests.oracle.joint import find
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.variational import GRID, STEP, all_bits, joint_on_grid, log_p_by_quadrature, tiny_vae

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


def grouped() -> VAEStack:
    """Three bits over two categories of two values, under a VAE."""
    g = torch.Generator().manual_seed(3)
    dbn = DBN.of_units([Bernoulli(3), Categorical(2, 2)], generator=g).double()
    stack = VAEStack(dbn, dense_vae(Categorical(2, 2), [1], hidden=[[4]], generator=g).double())
    for parameter in stack.parameters():
        parameter.data.normal_(generator=g)
    return stack


def tables(stack: VAEStack) -> list[Tensor]:
    """``p(bits of the layer below | the layer above)`` of each RBM, the lowest first: (states above, states below)."""
    bits, found = all_bits(), []
    for rbm in stack.below.layers:
        assert isinstance(rbm, RBM)
        above = torch.cat(list(rbm.hidden.states()))
        on = torch.sigmoid(above @ rbm.weight.T + rbm.visible.bias)  # (hidden state, visible unit)
        found.append(torch.exp(torch.log(on) @ bits.T + torch.log1p(-on) @ (1 - bits.T)))
    return found


def exact_log_p(stack: VAEStack) -> Tensor:
    """``log p(x)`` of all eight cases: the top's law pushed down through tables of conditionals."""
    p = log_p_by_quadrature(stack.top, all_bits()).exp()
    for table in reversed(tables(stack)):
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
    assert counts_p_value(torch.bincount(number(draws), minlength=8), exact.exp()) > FALSE_ALARM


# -- completion -----------------------------------------------------------------------------------------------------


def number(bits: Tensor) -> Tensor:
    """Which of the eight cases each row is."""
    return find(all_bits(), bits)


def everything_taken(patch: pytest.MonkeyPatch) -> None:
    """No proposal for a hidden layer is refused."""
    patch.setattr(stack_completion, "accepted", lambda gain, generator: torch.ones_like(gain, dtype=torch.bool))


def codes_taken(patch: pytest.MonkeyPatch) -> None:
    """No proposal for the codes is refused."""
    right = stack_completion.redraw_codes
    patch.setattr(stack_completion, "redraw_codes", lambda *given: right(*given, always=True))


def nothing_above(patch: pytest.MonkeyPatch) -> None:
    """A hidden layer that does not see the one above it."""
    right = stack_completion._given_above

    def blind(*given: Any) -> tuple[Units, Tensor]:
        units, inputs = right(*given)
        return units, torch.zeros_like(inputs)

    patch.setattr(stack_completion, "_given_above", blind)


def halves(stack: VAEStack) -> Tensor:
    """``p(the last hidden layer, the sign of the code)``: (states, 2)."""
    joint = joint_on_grid(stack.top, torch.cat(list(stack.top.visible.states()))) * STEP
    return torch.stack([joint[:, GRID < 0].sum(1), joint[:, GRID >= 0].sum(1)], 1)


def p_value_after_steps(stack: VAEStack, state: State, known: Tensor, generator: torch.Generator) -> float:
    """How likely a state drawn from the stack still is, after two steps with the known entries held."""
    clamp = Clamp(state.layers[0], known)
    for _ in range(2):
        state, _ = metropolis_step(stack, state, clamp, generator)
    p = halves(stack)
    at = find(torch.cat(list(stack.top.visible.states())), state.layers[-1]) * 2 + (state.codes[0][:, 0] >= 0).long()
    p_values = [counts_p_value(torch.bincount(at, minlength=p.numel()), p.flatten())]
    above = p.sum(1)
    for level, table in reversed(list(enumerate(tables(stack)))):
        joint = above.unsqueeze(1) * table  # (the layer above, the layer below)
        hidden = torch.cat(list(stack.below.layers[level].hidden.states()))
        at = find(hidden, state.layers[level + 1]) * 8 + find(all_bits(), state.layers[level])
        p_values.append(counts_p_value(torch.bincount(at, minlength=joint.numel()), joint.flatten()))
        above = joint.sum(0)
    return min(p_values)


@pytest.mark.parametrize("make", [tiny, grouped])
@pytest.mark.parametrize("plant", [no_bug, everything_taken, codes_taken, nothing_above])
@torch.no_grad()
def test_a_step_of_completion_leaves_the_joint_law_as_it_is(
    make: Callable[[], VAEStack], plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    stack, n = make(), 30_000
    z, _ = stack.top.draw_codes(n, None, generator)
    layers = [stack.top.visible.sample(stack.top.visible_inputs(z), generator)]
    for rbm in reversed(list(stack.below.layers)):
        layers.insert(0, rbm.sample_v_from_h(layers[0], generator))
    known = torch.rand(n, 3, generator=generator) < 0.5
    plant(monkeypatch)
    p_value = p_value_after_steps(stack, State(layers, [z]), known, generator)
    assert (p_value > FALSE_ALARM) == (plant is no_bug)


def test_exact_completion_draws_from_the_conditional_and_pseudo_gibbs_does_not(generator: torch.Generator) -> None:
    stack, n = tiny(), 8000
    x, known = torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([True, False, False])
    law = exact_log_p(stack).detach().exp()[4:]
    law /= law.sum()
    given: dict[str, Any] = {"generator": generator, "n_average": 0, "n_steps": 16}
    draws = stack.complete(x.expand(n, 3), known.expand(n, 3), exact=True, **given)
    assert bool((draws[:, 0] == 1).all())
    assert counts_p_value(torch.bincount(number(draws) - 4, minlength=4), law) > FALSE_ALARM
    approximate = stack.sample(n, condition=Clamp(x, known), n_steps=16, generator=generator)
    assert counts_p_value(torch.bincount(number(approximate) - 4, minlength=4), law) < FALSE_ALARM
    given |= {"n_average": 12, "exact": True}
    means = stack.complete(x.expand(2000, 3), known.expand(2000, 3), **given)
    assert means_p_value(means[:, 1:], law @ all_bits()[4:, 1:]) > FALSE_ALARM


def test_a_part_of_a_layer_holds_variables_whole(generator: torch.Generator) -> None:
    def parts(units: Units) -> Tensor:
        return random_part(units, torch.zeros(300, units.size), generator)

    sizes = parts(Bernoulli(6)).sum(1)
    assert sizes.unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
    grouped = parts(Categorical(3, 2)).unflatten(1, (3, 2))
    assert torch.equal(grouped[..., 0], grouped[..., 1])
    assert grouped.any()
    assert not grouped.all()
    assert parts(SideBySide([Bernoulli(2), Categorical(1, 3)])).all()


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
    for capability in (Sampler, Density, Coder, Completer, Storable):
        assert isinstance(stack, capability)
    save_model(stack, tmp_path / "stack")
    twin = load_model(tmp_path / "stack")
    assert torch.equal(twin.decode(twin.encode(all_bits())), stack.decode(stack.encode(all_bits())))
    with pytest.raises(InvalidArgumentError, match=r"top must have 4 bernoulli visible units.*Got 3 bernoulli"):
        VAEStack(DBN.of_sizes([3, 4]), tiny_vae())
    with pytest.raises(InvalidDataError, match="known must have 3 columns"):
        stack.complete(all_bits(), torch.ones(8, 2, dtype=torch.bool))
