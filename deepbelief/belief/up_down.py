"""The up-down algorithm: wake-sleep learning of all layers at once, with an undirected top.

Wake: draws go up, ``h ~ Q(h | v)``, and the way down learns to predict each layer from the one above it. At the top,
alternating Gibbs sampling learns as in a lone RBM, labels beside the features. Sleep: from where the chains ended draws
go down, ``v ~ p(v | h)``, and the way up learns to infer the layer that each was made from:

    dG = r (x - <x>_p) h'    for G of p(x | h),        dR = r x (h - <h>_Q)'    for R of Q(h | x)

The first is the gradient of the variational bound in the generative weights; the second that of ``<log Q(h | v)>_p``,
which is not the bound's gradient, but points the same way where the model fits the data.

Hinton, Dayan, Frey & Neal 1995, "The wake-sleep algorithm for unsupervised neural networks"; Hinton, Osindero & Teh
2006, "A fast learning algorithm for deep belief nets", section 5 and appendix B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.belief.layers import UntiedLayer
from deepbelief.belief.untied import UntiedDBN
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import Follower, PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.update import Factor, move_offsets
from deepbelief.errors import check, check_count, check_range
from deepbelief.protocols import Generator, StepContext
from deepbelief.types import Batch
from deepbelief.units.base import Units

PUBLISHED_STEPS = (3, 6, 10)


class UpDownLearning:
    """One update of all weights of an `UntiedDBN` per batch; a `Procedure`.

    `negative` gives the top's chains: contrastive divergence (the default, as published) or persistent chains. `k` is
    how many steps they take per update: one number, or several, each for an equal part of the training (published: 3,
    then 6, then 10). `generative_rate` and `recognition_rate` multiply the learning rate of the way down and of the way
    up, 1 as published. ``mean_dreams`` ends each dream with the means of the data given the layer above instead of
    draws, as published: for data that are themselves probabilities, such as grey levels.

    With labels, `discriminative` adds that many times the gradient of ``log classify(x)`` of the known label in the top
    and in the recognition weights: a hybrid (Larochelle & Bengio 2008, for one layer). 0, the default, is the published
    rule. The other terms sum nats over many units, so about 10 makes the label heard; their rate must then be lower.
    With `adversarial` half of it is that of cases moved by so much in every input, down the slope of that posterior
    (Goodfellow et al. 2015).

    ``l2`` decays all weights; ``centred`` subtracts each layer's running mean from the causes in every rule, the RBM's
    and the delta rules alike, which changes no model and no stationary point, but the path between them. Watches
    ``log_p_down`` and ``log_q_up``: nats per case of all layers given the one above, awake, and of all layers given the
    one below, asleep; with contrastive divergence the ``reconstruction_error`` of the top, with `discriminative` the
    ``log_posterior`` of the known labels.
    """

    def __init__(
        self,
        model: UntiedDBN,
        negative: ContrastiveDivergence | PersistentChains | None = None,
        *,
        k: int | Sequence[int] = PUBLISHED_STEPS,
        learning_rate: float = 0.01,
        schedule: Factor | None = None,
        momentum: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "sgd",
        l2: float = 0.0,
        generative_rate: float = 1.0,
        recognition_rate: float = 1.0,
        discriminative: float = 0.0,
        adversarial: float = 0.0,
        mean_dreams: bool = False,
        centred: bool = True,
        offset_rate: float = 0.01,
    ) -> None:
        self.steps = checked_steps(k)
        check_range("generative_rate", generative_rate, low=0)
        check_range("recognition_rate", recognition_rate, low=0)
        check_range("discriminative", discriminative, low=0)
        check_range("adversarial", adversarial, low=0)
        check(
            adversarial == 0 or discriminative > 0,
            f"adversarial needs discriminative above 0, of which it is half. Got adversarial={adversarial}. Use 0.",
        )
        check(
            discriminative == 0 or model.n_classes is not None,
            f"discriminative needs labels in the top RBM. Got discriminative={discriminative}. Use 0.",
        )
        self.module: torch.nn.Module = model
        self.model = model
        self.negative = ContrastiveDivergence() if negative is None else negative
        self.generative_rate, self.recognition_rate = generative_rate, recognition_rate
        self.discriminative, self.adversarial, self.mean_dreams = discriminative, adversarial, mean_dreams
        self.top_rule = LikelihoodLearning(
            model.top,
            self.negative,
            learning_rate=learning_rate,
            schedule=schedule,
            momentum=momentum,
            optimizer=optimizer,
            l2=l2,
            centred=centred,
            offset_rate=offset_rate,
            module=model,
        )

    @torch.no_grad()
    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start the top's chains at draws of the first batch, if they are persistent."""
        v = self._seen_by_top(self.model.upward(first.x, sample=True, generator=generator), first)
        self.negative.start(self.model.top, v, generator, rank=rank, world_size=world_size)

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update: up, around the top, down; then all weights at once."""
        top = self.model.top
        self.negative.k = self.steps_at(context.progress)
        with context.autocast():
            awake = self._go_up(batch.x, context.generator)
            v = self._seen_by_top(awake[-1], batch)
            inputs = top.input_h_from_v(v)
            phase = PositivePhase(v, inputs, top.hidden.mean(inputs), batch.weight)
            negative, watched = self.negative.moments(top, phase, context.generator)
            asleep = self._go_down(negative, context.generator)
        positive = moments(top, phase.v, phase.inputs, phase.mean_h, batch.weight)
        self.top_rule.put_gradients(positive, negative)
        log_p, log_q = self._learn_down(awake, batch.weight), self._learn_up(asleep, self._weight_of_dreams(batch))
        if self.discriminative:
            watched = {**watched, "log_posterior": self._learn_labels(batch)}
        self._advance(context, awake, positive, batch.weight)
        return {"log_p_down": log_p, "log_q_up": log_q, **watched}

    def steps_at(self, progress: float) -> int:
        """The chains' steps per update when so much of the training is done."""
        return self.steps[min(int(progress * len(self.steps)), len(self.steps) - 1)]

    # -- the two passes ---------------------------------------------------------------------------------------------

    def _go_up(self, x: Tensor, generator: Generator) -> list[Tensor]:
        """The data and the draws above them, up to what the top sees."""
        states = [x]
        for layer in self.model.untied:
            states.append(layer.sample_h_from_v(states[-1], generator))
        return states

    def _go_down(self, negative: Moments, generator: Generator) -> list[Tensor]:
        """Dreams from the visible states of the top's chains, bottom first like `_go_up`."""
        states = [self.model.without_label(negative.left)]
        for i, layer in reversed(list(enumerate(self.model.untied))):
            to_means = self.mean_dreams and i == 0
            states.append((layer.mean_v_from_h if to_means else _Drawn(layer, generator))(states[-1]))
        return states[::-1]

    def _seen_by_top(self, h: Tensor, batch: Batch) -> Tensor:
        return self.model.with_labels(h, batch.y) if self.model.n_classes else h

    def _weight_of_dreams(self, batch: Batch) -> Tensor | None:
        """A chain that started at a case weighs as much as the case; persistent ones are equal."""
        return batch.weight if isinstance(self.negative, ContrastiveDivergence) else None

    # -- learning ---------------------------------------------------------------------------------------------------

    def _learn_down(self, states: list[Tensor], weight: Tensor | None) -> Tensor:
        """Generative gradients from states of the way up; the mean ``log p`` of each layer given the next, summed."""
        total = states[0].new_zeros(())
        for layer, x, h in zip(self.model.untied, states, states[1:], strict=False):
            lesson = _Lesson(layer.visible, x, h, layer.input_v_from_h(h), weight)
            layer.generative.grad = self._follow(lesson, layer.generative, layer.hidden_offset, self.generative_rate)
            total = total + lesson.log_prob()
        return total

    def _learn_up(self, states: list[Tensor], weight: Tensor | None) -> Tensor:
        """Recognition gradients from states of the way down; the mean ``log Q`` of each given the one below, summed."""
        total = states[0].new_zeros(())
        for layer, x, h in zip(self.model.untied, states, states[1:], strict=False):
            lesson = _Lesson(layer.hidden, h, x, layer.input_h_from_v(x), weight)
            turned = layer.recognition.T
            gradient = self._follow(lesson, turned, layer.visible_offset, self.recognition_rate)
            layer.recognition.grad = gradient.T.contiguous()
            total = total + lesson.log_prob()
        return total

    def _learn_labels(self, batch: Batch) -> Tensor:
        """Add the gradient of ``log classify(x)`` of the known labels, and return its mean over them."""
        assert batch.y is not None
        share, y = _shares(batch.x, batch.weight) * (batch.y >= 0), batch.y.clamp_min(0).long()
        if not self.adversarial:
            score, _ = self._climb(batch.x, y, share, self.discriminative)
        else:
            score, slope = self._climb(batch.x.detach().requires_grad_(), y, share, 0.5 * self.discriminative)
            assert slope is not None
            moved = batch.x.detach() - self.adversarial * slope.sign()
            score = 0.5 * (score + self._climb(moved, y, share, 0.5 * self.discriminative)[0])
        return score / share.sum().clamp_min(torch.finfo(share.dtype).tiny)

    def _climb(self, x: Tensor, y: Tensor, share: Tensor, amount: float) -> tuple[Tensor, Tensor | None]:
        """Add `amount` times the gradient of the labels' mean score given x; the score, and its slope in x if asked."""
        asked = [x] if x.requires_grad else []
        with torch.enable_grad():
            log_p = torch.log_softmax(-self.model.label_free_energies(self.model.upward(x)), 1)
            score = share @ log_p.gather(1, y.unsqueeze(1)).squeeze(1)
            parameters = list(self.model.parameters())
            found = torch.autograd.grad(score, [*parameters, *asked], allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=False):
            if gradient is not None and parameter.grad is not None:
                parameter.grad.add_(gradient, alpha=-amount)
        return score.detach(), found[-1] if asked else None

    def _follow(self, lesson: _Lesson, weight: Tensor, offset: Tensor, rate: float) -> Tensor:
        """Gradients of *minus* the lesson's log-probability: of the units in place, of the weights returned."""
        error = lesson.error
        ascent, bias = error.T @ lesson.causes, error.sum(0)
        if self.top_rule.centred:
            ascent.addr_(bias, offset, alpha=-1)
        ascent.add_(weight, alpha=-self.top_rule.l2)
        if self.top_rule.centred:
            bias = bias - ascent @ offset
        others = {name: -rate * gradient for name, gradient in lesson.other_gradients().items()}
        lesson.units.set_gradients(-rate * bias, others)
        return ascent.mul_(-rate)

    def _advance(self, context: StepContext, awake: list[Tensor], top: Moments, weight: Tensor | None) -> None:
        """Follow the gradients, and move all offsets towards the means of the way up."""
        share = _shares(awake[0], weight)
        for layer, x, h in zip(self.model.untied, awake, awake[1:], strict=False):
            layer.visible_offset.grad, layer.hidden_offset.grad = share @ x, share @ h
        self.model.top.visible_offset.grad, self.model.top.hidden_offset.grad = top.v, top.h
        offsets = [o for layer in self.model.layers for o in (layer.visible_offset, layer.hidden_offset)]
        self.top_rule.update.apply(context, travellers=offsets)
        for each in self.model.layers:
            move_offsets(each, self.top_rule.offset_rate)
        if isinstance(self.negative, Follower):
            self.negative.follow(self.model.top)

    # -- storage ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return self.top_rule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.top_rule.load_state_dict(state)


def checked_steps(k: int | Sequence[int]) -> list[int]:
    """Numbers of Gibbs steps per update, each for an equal part of the training.

    >>> checked_steps(3), checked_steps((3, 6, 10))
    ([3], [3, 6, 10])
    """
    steps = list(k) if isinstance(k, Sequence) and not isinstance(k, str) else [k]
    check(len(steps) >= 1, "k must hold at least 1 number of steps. Got none. Use k=(3, 6, 10).")
    for number in steps:
        check_count("k", number, low=1)
    return steps


class _Lesson:
    """Units that learn to predict their `targets` from an input: errors and gradients of their weighted log-prob."""

    def __init__(self, units: Units, targets: Tensor, causes: Tensor, inputs: Tensor, weight: Tensor | None) -> None:
        self.units, self.targets, self.causes, self.inputs = units, targets, causes, inputs
        self.share = _shares(targets, weight)
        self.mean = units.mean(inputs)
        self.error = (targets - self.mean) * self.share.unsqueeze(1)  # d log p / d input, row by row

    def other_gradients(self) -> dict[str, Tensor]:
        """Of the parameters beside the bias (precisions), by name."""
        seen = self.units.statistics(self.targets)
        expected = self.units.expected_statistics(self.inputs, self.mean)
        return {name: self.share @ (seen[name] - expected[name]) for name in seen}

    def log_prob(self) -> Tensor:
        """The weighted mean in nats."""
        return self.share @ self.units.log_prob(self.targets, self.inputs)


class _Drawn:
    """A draw down through one layer."""

    def __init__(self, layer: UntiedLayer, generator: Generator) -> None:
        self.layer, self.generator = layer, generator

    def __call__(self, h: Tensor) -> Tensor:
        return self.layer.sample_v_from_h(h, self.generator)


def _shares(rows: Tensor, weight: Tensor | None) -> Tensor:
    return rows.new_full((len(rows),), 1 / len(rows)) if weight is None else (weight / weight.sum()).to(rows)
