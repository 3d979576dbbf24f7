"""The conditional RBM against the enumerated law under each context."""

import pytest
import torch
from torch import Tensor

from deepbelief.energy.conditional_rbm import ConditionalRBM
from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.errors import InvalidDataError
from deepbelief.storage import load_model, save_model
from deepbelief.types import Clamp
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import tiny_conditional

KINDS = [("bernoulli", "bernoulli"), ("gaussian", "spin"), ("with_gaussian", "bernoulli"), ("categorical", "gaussian")]


def contexts(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 2, generator=generator, dtype=torch.float64)


def joint_of(model: ConditionalRBM, u: Tensor) -> Joint:
    """The law under one context, from the definition: the fields are moved by ``u A`` and ``u B``."""
    joint = Joint.of(model.rbm)
    joint.field = joint.field + torch.cat([u @ model.context_to_v, u @ model.context_to_h])
    return joint


@pytest.mark.parametrize(("visible", "hidden"), KINDS)
def test_energies_and_likelihoods_are_the_enumerated_ones(
    visible: str, hidden: str, generator: torch.Generator
) -> None:
    model, u = tiny_conditional(visible, hidden, generator), contexts(4, generator)
    rows = torch.cat([joint_of(model, row).draw(1, generator) for row in u])
    v, h = Joint.of(model.rbm).halves(rows)
    found = model.log_likelihood(v, u)
    assert found.kind == "exact"
    free, energy = model.free_energy(v, u), model.energy(v, h, u)
    codes = model.encode(v, u)
    for i, row in enumerate(u):
        joint = joint_of(model, row)
        torch.testing.assert_close(-free[i], joint.given_visible(v[i]).log_z)
        torch.testing.assert_close(energy[i], joint.energy(rows[i : i + 1])[0])
        torch.testing.assert_close(found.value[i], joint.given_visible(v[i]).log_z - joint.log_z)  # type: ignore[index]
        torch.testing.assert_close(codes[i], joint.given_visible(v[i]).moments()[0][v.shape[1] :])
        single = model.rbm_given(row)
        torch.testing.assert_close(Joint.of(single).log_z, joint.log_z)


@pytest.mark.parametrize("planted", [False, True])
def test_a_sweep_keeps_the_law_of_each_context(
    planted: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, u = tiny_conditional("bernoulli", "bernoulli", generator), contexts(2, generator)
    n = 60_000
    starts = torch.cat([joint_of(model, row).draw(n, generator) for row in u])
    given = model.given(u.repeat_interleave(n, 0))
    if planted:  # the hidden units forget the context
        monkeypatch.setattr(given, "to_h", torch.zeros_like(given.to_h))
    state, _ = BlockGibbs(given).step(ChainState(*Joint.of(model.rbm).halves(starts)), generator=generator)
    moved = torch.cat([state.v, state.h], 1)
    p_values = [joint_of(model, row).p_value(part) for row, part in zip(u, moved.split(n), strict=True)]
    assert (min(p_values) > FALSE_ALARM) != planted


def test_samples_and_completions_follow_their_context(generator: torch.Generator) -> None:
    model, u = tiny_conditional("bernoulli", "bernoulli", generator), contexts(2, generator)
    n, known = 4000, torch.tensor([True, False, False])
    clamp = Clamp(torch.tensor([1.0, 0.0, 0.0]).double(), known)
    each = u.repeat_interleave(n, 0)
    draws = model.sample(each, generator=generator, n_steps=40)
    held = model.sample(each, condition=clamp, generator=generator, n_steps=40)
    steps = {"n_steps": 40, "n_average": 4, "generator": generator}
    filled = model.complete(clamp.values.expand(2 * n, -1), known, each, **steps)
    assert bool((held[:, 0] == 1).all() and (filled[:, 0] == 1).all())
    wrong = []
    for i, row in enumerate(u):
        joint, place = joint_of(model, row), slice(i * n, (i + 1) * n)
        free, _ = joint.moments()
        values = torch.cat([clamp.values, torch.zeros(3).double()])
        given, _ = joint.given(values, torch.cat([known, torch.zeros(3, dtype=torch.bool)])).moments()
        assert means_p_value(draws[place], free[:3]) > FALSE_ALARM
        assert means_p_value(held[place, 1:], given[1:3]) > FALSE_ALARM
        assert means_p_value(filled[place, 1:], given[1:3]) > FALSE_ALARM
        wrong.append(means_p_value(draws[place], joint_of(model, u[1 - i]).moments()[0][:3]))
    assert min(wrong) < FALSE_ALARM


def test_a_sequence_goes_on_from_its_last_frames(generator: torch.Generator) -> None:
    # weights so strong that the next frame is the one before the last: two frames alternate for ever
    model = ConditionalRBM(3, 2, 6, generator=generator)
    with torch.no_grad():
        model.rbm.weight.zero_()
        model.context_to_h.zero_()
        model.context_to_v[:3] = 200 * torch.eye(3)
        model.rbm.visible.bias.fill_(-100)
    frames = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    further = model.continue_sequence(frames, 5, generator=generator, n_steps=2)
    assert torch.equal(further, frames[[0, 1, 0, 1, 0]])
    both = model.continue_sequence(torch.stack([frames, frames.flip(0)]), 2, generator=generator, n_steps=2)
    assert torch.equal(both, torch.stack([frames, frames.flip(0)]))
    with pytest.raises(InvalidDataError, match="a whole context"):
        model.continue_sequence(frames[:1], 2)
    with pytest.raises(InvalidDataError, match="contexts must have shape"):
        model.given(frames)


def test_it_is_saved_and_read_back(generator: torch.Generator, tmp_path: object) -> None:
    model, u = tiny_conditional("with_gaussian", "bernoulli", generator), contexts(3, generator)
    found = load_model(save_model(model, f"{tmp_path}/model"))
    v = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    assert torch.equal(found.free_energy(v, u), model.free_energy(v, u))
