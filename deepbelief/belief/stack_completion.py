"""Filling in what is missing from a case of RBMs under a VAE, by a chain over missing entries, hidden layers and codes.

The law to draw from is that of the directed stack, given what is known:

    p(x_missing, h1 ... hL, z | x_known)  ~  p(x | h1) p(h1 | h2) ... p(hL | z) p(z)

Pseudo-Gibbs sampling draws everything above x on the way up and the missing entries from p(x | h1) in turn (Rezende et
al. 2014). It mixes fast, and is as right as the way up is: its law is another than the stack's.

The exact chain proposes new codes from the VAE's encoder, then new values of a random part of each hidden layer from
the way up, ``q(h_l | h_(l-1))``, from the top layer down, and takes each proposal with the probability of Metropolis
and Hastings. The part of a layer may be small or large (its size is uniform in the logarithm): of a whole layer hardly
any proposal would be taken. For codes this is the step of Mattei & Frellsen 2018, "Leveraging the exact likelihood of
deep latent variable models". It mixes slowly in wide stacks: give it steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deepbelief.autoencoders.completion import Codes, accepted, redraw_codes, steps_to_average
from deepbelief.energy.kernels.clamped import check_clamp
from deepbelief.protocols import Generator
from deepbelief.types import Clamp
from deepbelief.units.base import Units

if TYPE_CHECKING:
    from deepbelief.belief.vae_stack import VAEStack

MOVES = 16  # proposals for each layer in a step: with 4 of them chains of as many steps fill in clearly worse


@dataclass(frozen=True)
class State:
    """The data and all hidden layers, lowest first, and the codes above them."""

    layers: list[Tensor]
    codes: Codes


@torch.no_grad()
def climb(stack: VAEStack, x: Tensor, generator: Generator) -> State:
    """Everything above `x`, drawn on the way up: ``q(h1 | x) q(h2 | h1) ... q(z | hL)``."""
    layers = [x]
    for rbm in stack.below.layers:
        layers.append(rbm.sample_h_from_v(layers[-1], generator))
    return State(layers, [z[0] for z in stack.top.infer(layers[-1], generator=generator).codes])


@torch.no_grad()
def metropolis_step(
    stack: VAEStack, state: State, clamp: Clamp, generator: Generator, *, always: bool = False
) -> tuple[State, Tensor]:
    """One step that leaves ``p(x_missing, h, z | x_known)`` as it is: the new state, and the means of x given h1.

    With `always` everything above x is drawn anew on the way up and taken (pseudo-Gibbs).
    """
    if always:
        state = climb(stack, state.layers[0], generator)
    else:
        codes = redraw_codes(stack.top, state.layers[-1], state.codes, None, generator)
        state = State(list(state.layers), codes)
        for level in range(len(stack.below.layers), 0, -1):
            _redraw_layer(stack, state, level, generator)
    rbm = stack.below.layers[0]
    inputs = rbm.input_v_from_h(state.layers[1])
    mean = rbm.visible.mean(inputs)
    x = clamp.apply(rbm.visible.draw(inputs, mean, generator))
    return State([x, *state.layers[1:]], state.codes), mean


def _redraw_layer(stack: VAEStack, state: State, level: int, generator: Generator) -> None:
    """`MOVES` proposals for a part of the hidden layer `level`, given the layers (or codes) next to it; in place."""
    rbm, below, h = stack.below.layers[level - 1], state.layers[level - 1], state.layers[level]
    units, above = _given_above(stack, state, level)
    inputs = rbm.input_h_from_v(below)

    def log_weight(h: Tensor) -> Tensor:
        """``log p(h_(l-1) | h_l) p(h_l | above) / q(h_l | h_(l-1))``: (cases,)."""
        down = rbm.visible.log_prob(below, rbm.input_v_from_h(h))
        return down + units.log_prob(h, above) - rbm.hidden.log_prob(h, inputs)

    weight = log_weight(h)
    for _ in range(MOVES):
        chosen = random_part(rbm.hidden, h, generator)
        proposed = torch.where(chosen, rbm.hidden.sample(inputs, generator), h)
        new = log_weight(proposed)
        taken = accepted(new - weight, generator)
        h, weight = torch.where(taken.unsqueeze(1), proposed, h), torch.where(taken, new, weight)
    state.layers[level] = h


def _given_above(stack: VAEStack, state: State, level: int) -> tuple[Units, Tensor]:
    """The units and the inputs of ``p(h_level | what lies above it)``."""
    if level == len(stack.below.layers):
        return stack.top.visible, stack.top.visible_inputs(state.codes[0])
    rbm = stack.below.layers[level]
    return rbm.visible, rbm.input_v_from_h(state.layers[level + 1])


def random_part(units: Units, h: Tensor, generator: Generator) -> Tensor:
    """Which units of each case are drawn anew: a share of them between one of the layer and all of it, True there.

    What hangs together (the entries of a category) is drawn together; a layer of several kinds as a whole.
    """
    n_parts = 1 if units.kind == "side_by_side" else units.cumulants(h[:1]).shape[-1]
    options: dict[str, Any] = {"dtype": h.dtype, "device": h.device, "generator": generator}
    share = n_parts ** -torch.rand(len(h), 1, **options)
    chosen = torch.rand(len(h), n_parts, **options) < share
    return chosen.repeat_interleave(units.size // n_parts, 1)


@torch.no_grad()
def complete_by_chain(
    stack: VAEStack,
    x: Tensor,
    known: Tensor,
    *,
    n_steps: int = 200,
    n_average: int | None = None,
    exact: bool = False,
    generator: Generator = None,
) -> Tensor:
    """`x` with its unknown entries filled: their mean given h1 in the last `n_average` steps (see `steps_to_average`).

    The chain starts from a new case of the stack. It is pseudo-Gibbs, or with `exact` only its first quarter, which
    comes in from afar where a refusing chain would stay; the rest is then exact in the limit.
    """
    n_average = steps_to_average(n_steps, n_average)
    clamp = Clamp(x, known)
    check_clamp(stack.visible, clamp)
    start = clamp.apply(stack.sample(len(x), generator=generator))
    state, total = State([start], []), torch.zeros_like(start)  # the first step draws all that lies above
    for step in range(n_steps):
        always = not exact or step <= n_steps // 4
        state, mean = metropolis_step(stack, state, clamp, generator, always=always)
        if step >= n_steps - n_average:
            total += mean
    return clamp.apply(total / n_average) if n_average else state.layers[0]
