"""log Z of a replicated softmax for many lengths of documents: exact, or bracketed by annealing along the length.

``Z_D = sum_h exp(D a(h))``, so D itself is the inverse temperature of annealed importance sampling: one run from D = 0,
where h is uniform and ``log Z_0 = n_hidden log 2``, up to the longest document passes every length on its way,

    log w_D = sum over steps of (D_{k+1} - D_k) a(h_k),         Z_D / Z_0 = <w_D>,

and each of these is an unbiased estimate of its own. By Jensen's inequality log Z comes out too low on average. Chains
that start from draws of the model at D and run down to 0 err to the other side. As a function of D, log Z is convex (a
log-sum-exp of linear functions), so between two lengths that were annealed downwards it lies below the chord.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.energy.kernels.lengths import spread_lengths, swap, sweep
from deepbelief.energy.partition.ais import Progress
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import InvalidArgumentError, check_choice, check_range
from deepbelief.maths.logspace import log_mean_exp
from deepbelief.protocols import Generator
from deepbelief.types import Kind

QUICK_STATES, MOST_STATES = 1 << 12, 1 << 22  # every state costs a product with the whole vocabulary
FINEST = 100  # steps of at most a hundredth of the length that is reached


@dataclass(frozen=True)
class LengthLogZ:
    """``log Z_D`` in nats for each of `lengths` (rising), with its kind, its error, and both ends of the bracket."""

    lengths: Tensor
    value: Tensor
    kind: Kind
    stderr: Tensor
    method: str = ""
    low: Tensor | None = None
    high: Tensor | None = None

    def place(self, lengths: Tensor) -> Tensor:
        """Where each of `lengths` stands in the table."""
        place = torch.searchsorted(self.lengths, lengths).clamp_max(len(self.lengths) - 1)
        if (absent := self.lengths[place] != lengths).any():
            raise InvalidArgumentError(
                f"log_z must hold every length of the documents. Got none for {int(lengths[absent][0])} words. "
                "Compute it with log_z_of_lengths(model, lengths)."
            )
        return place


@torch.no_grad()
def log_z_of_lengths(
    model: ReplicatedSoftmax,
    lengths: Tensor,
    method: str = "auto",
    *,
    n_chains: int = 100,
    sweeps: int = 1,
    n_reverse: int = 25,
    reverse_chains: int = 40,
    burn_in: int = 200,
    documents: Tensor | None = None,
    generator: Generator = None,
    progress: Progress | None = None,
) -> LengthLogZ:
    """``log Z_D`` for every length in `lengths` (in any order, repeated or not).

    method is "auto" (exact with at most 12 hidden units), "exact" or "ais". "ais" anneals `n_chains` up through the
    lengths with `sweeps` Gibbs sweeps at each, and `reverse_chains` down from each of `n_reverse` of them; these start
    at the topics of `documents` (else at the ends of the upward runs), moved by `burn_in` sweeps with swaps.
    """
    check_choice("method", method, ["auto", "exact", "ais"])
    wanted = lengths.unique()
    if len(wanted) == 0 or wanted[0] < 0:
        raise InvalidArgumentError("lengths must be at least 0, and at least one. Count the words of some documents.")
    if method == "exact" or (method == "auto" and model.hidden.n_states <= QUICK_STATES):
        return exact_log_z_of_lengths(model, wanted)
    low, stderr, states = anneal_up(model, wanted, n_chains, sweeps=sweeps, generator=generator, progress=progress)
    knots = torch.linspace(0, len(wanted) - 1, min(n_reverse, len(wanted))).round().long().unique().to(wanted.device)
    starts = wanted[knots].repeat_interleave(reverse_chains)
    if documents is None:
        h = states[knots][:, torch.arange(reverse_chains) % n_chains].flatten(0, 1)
    else:
        h = _topics_of(model, documents, starts, generator)
    h = _burn_in(model, h, starts, burn_in, generator)
    at_knots = anneal_down(model, h, starts, sweeps=sweeps, generator=generator)
    high = torch.maximum(_chord(wanted, wanted[knots], at_knots), low)
    text = f"AIS along the length, {n_chains} chains up, {reverse_chains} down from each of {len(knots)} lengths"
    return LengthLogZ(wanted, (low + high) / 2, "estimate", stderr, text, low, high)


@torch.no_grad()
def exact_log_z_of_lengths(model: ReplicatedSoftmax, lengths: Tensor, *, chunk: int = 1 << 10) -> LengthLogZ:
    """By the sum over all hidden states, in float64."""
    if model.hidden.n_states > MOST_STATES:
        raise InvalidArgumentError(
            f"the hidden layer must have at most {MOST_STATES:,} states to be enumerated. "
            f'Got {model.hidden.n_states:.3g}. Use method="ais".'
        )
    total = torch.full((len(lengths),), -torch.inf, dtype=torch.float64, device=lengths.device)
    for h in model.hidden.states(chunk):
        terms = lengths.double().unsqueeze(1) * _word_potential(model, h)
        total = torch.logaddexp(total, torch.logsumexp(terms, 1))
    text = f"enumeration of {model.hidden.n_states:,} states"
    return LengthLogZ(lengths, total, "exact", torch.zeros_like(total), text)


@torch.no_grad()
def anneal_up(
    model: ReplicatedSoftmax,
    lengths: Tensor,
    n_chains: int,
    *,
    sweeps: int = 1,
    generator: Generator = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimates of log Z at rising `lengths` that are too low on average, their errors, and h at each length."""
    check_range("n_chains", n_chains, low=2)
    check_range("sweeps", sweeps, low=1)
    schedule, wanted = _schedule(lengths), set(lengths.tolist())
    shape = (n_chains, model.hidden.size)
    h = model.hidden.draw(model.weight.new_zeros(shape), model.weight.new_full(shape, 0.5), generator)
    log_weights = torch.zeros(n_chains, dtype=torch.float64, device=h.device)
    found, states = [], []
    for k, here in enumerate(schedule):
        if k > 0:
            log_weights += (here - schedule[k - 1]) * _word_potential(model, h)
            for _ in range(sweeps):
                h = sweep(model, h, torch.full((n_chains,), here, device=h.device), generator)[2]
        if here in wanted:
            found.append(log_mean_exp(log_weights))
            states.append(h)
        if progress is not None:
            progress(k + 1, len(schedule))
    log_z_0 = model.hidden.size * torch.log(torch.tensor(2.0, dtype=torch.float64)).item()
    value = torch.tensor([mean.value + log_z_0 for mean in found], dtype=torch.float64, device=h.device)
    return (
        value,
        torch.tensor([mean.stderr for mean in found], dtype=torch.float64, device=h.device),
        torch.stack(states),
    )


@torch.no_grad()
def anneal_down(
    model: ReplicatedSoftmax, h: Tensor, starts: Tensor, *, sweeps: int = 1, generator: Generator = None
) -> Tensor:
    """Estimates of log Z at each length in `starts` that are too high on average, given draws h of the model there.

    `starts` (chains,) holds the length of each chain, which is annealed down to a document of no words.
    """
    order = starts.argsort(descending=True)
    h, starts = h[order], starts[order]
    log_weights = torch.zeros(len(h), dtype=torch.float64, device=h.device)
    schedule = _schedule(starts.unique())
    for here, below in zip(schedule[:0:-1], schedule[-2::-1], strict=True):
        n = int((starts >= here).sum())  # chains of shorter documents have not started yet
        log_weights[:n] -= (here - below) * _word_potential(model, h[:n])
        for _ in range(sweeps if below else 0):
            h[:n] = sweep(model, h[:n], torch.full((n,), below, device=h.device), generator)[2]
    log_z_0 = model.hidden.size * torch.log(torch.tensor(2.0, dtype=torch.float64)).item()
    found = [log_z_0 - log_mean_exp(log_weights[starts == length]).value for length in starts.unique()]
    return torch.tensor(found, dtype=torch.float64, device=h.device)


def _word_potential(model: ReplicatedSoftmax, h: Tensor) -> Tensor:
    """``a(h)`` in float64: it is multiplied by the length."""
    logits = model.visible.bias.double() + h.double() @ model.weight.double().T
    return h.double() @ model.hidden.bias.double() + torch.logsumexp(logits, -1)


def _schedule(lengths: Tensor) -> list[int]:
    """Whole numbers from 0 up through all `lengths`, by steps of 1 and later of a hundredth of what is reached."""
    path = [0]
    for stop in lengths.tolist():
        while path[-1] < stop:
            path.append(min(stop, path[-1] + max(1, path[-1] // FINEST)))
    return path


def _topics_of(model: ReplicatedSoftmax, documents: Tensor, starts: Tensor, generator: Generator) -> Tensor:
    """Topics of documents for chains of rising lengths: the short ones' to the short ones."""
    rank = spread_lengths(torch.arange(len(documents), device=starts.device), len(starts))
    return model.sample_h_from_v(documents[documents.sum(-1).argsort()][rank], generator)


def _burn_in(model: ReplicatedSoftmax, h: Tensor, lengths: Tensor, n_steps: int, generator: Generator) -> Tensor:
    for _ in range(n_steps):
        h = sweep(model, swap(model, h, lengths, generator)[0], lengths, generator)[2]
    return h


def _chord(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Straight lines between the values at rising knots."""
    right = torch.searchsorted(knots, x).clamp(min(1, len(knots) - 1), len(knots) - 1)
    left = (right - 1).clamp_min(0)
    width = (knots[right] - knots[left]).clamp_min(1)
    return torch.lerp(values[left], values[right], ((x - knots[left]) / width).double())
