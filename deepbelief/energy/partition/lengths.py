"""log Z of a replicated softmax for many lengths of documents: exact, or bracketed by annealing along the length.

``Z_D = sum_h exp(D a(h))``, so D itself is the inverse temperature of annealed importance sampling: one run from D = 0,
where h is uniform and ``log Z_0 = n_hidden log 2``, up to the longest document passes every length on its way,

    log w_D = sum over steps of (D_{k+1} - D_k) a(h_k),         Z_D / Z_0 = <w_D>,

and each of these is an unbiased estimate of its own, also where a population of chains is drawn anew by its weights
whenever few chains have most of the weight (Del Moral, Doucet & Jasra 2006). By Jensen's inequality log Z comes out too
low on average. Chains that start from draws of the model at D and run down to 0 err to the other side. As a function of
D, log Z is convex (a log-sum-exp of linear functions), so between two lengths that were annealed downwards it lies
below the chord.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deepbelief.energy.kernels.lengths import spread_lengths, swap, sweep
from deepbelief.energy.partition.ais import Progress, share_chains
from deepbelief.errors import InvalidArgumentError, check_choice, check_count
from deepbelief.maths.logspace import log_mean_exp
from deepbelief.protocols import Generator
from deepbelief.rng import bernoulli
from deepbelief.training.processes import Processes
from deepbelief.types import Kind

if TYPE_CHECKING:
    from deepbelief.energy.replicated_softmax import ReplicatedSoftmax

QUICK_STATES, MOST_STATES = 1 << 12, 1 << 22  # every state costs a product with the whole vocabulary
POPULATIONS = 10  # independent ones, whose spread is the standard error
TWO_POPULATIONS = "The error needs two populations of two."
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
    processes: Processes | None = None,
) -> LengthLogZ:
    """``log Z_D`` for every length in `lengths` (in any order, repeated or not).

    method is "auto" (exact with at most 12 hidden units), "exact" or "ais". "ais" anneals `n_chains` up through the
    lengths with `sweeps` Gibbs sweeps at each, and `reverse_chains` down from each of `n_reverse` of them; these start
    at the topics of `documents` (else at the ends of the upward runs), moved by `burn_in` sweeps with swaps. With
    `processes` (all of them must call), each runs its share of the chains and all get the whole result.
    """
    check_choice("method", method, ["auto", "exact", "ais"])
    check_count("n_reverse", n_reverse, low=2, remedy="Both ends of the lengths are needed.")
    for name, value, least in (("reverse_chains", reverse_chains, 1), ("sweeps", sweeps, 1), ("burn_in", burn_in, 0)):
        check_count(name, value, low=least)
    check_count("n_chains", n_chains, low=4, remedy=TWO_POPULATIONS)
    wanted = lengths.unique()
    if len(wanted) == 0 or wanted[0] < 0:
        raise InvalidArgumentError("lengths must be at least 0, and at least one. Count the words of some documents.")
    if method == "exact" or (method == "auto" and model.hidden.n_states <= QUICK_STATES):
        return exact_log_z_of_lengths(model, wanted)
    plan: dict[str, Any] = {"sweeps": sweeps, "generator": generator, "processes": processes}
    low, stderr, states = anneal_up(model, wanted, n_chains, progress=progress, **plan)
    knots = torch.linspace(0, len(wanted) - 1, min(n_reverse, len(wanted))).round().long().unique().to(wanted.device)
    starts = wanted[knots].repeat_interleave(reverse_chains)
    if documents is None:
        h = states[knots][:, torch.arange(reverse_chains) % states.shape[1]].flatten(0, 1)
    else:
        h = _topics_of(model, documents, starts, generator)
    h = h.unflatten(0, (len(knots), reverse_chains))
    h = _burn_in(model, h, wanted[knots], burn_in, generator, processes)
    at_knots = anneal_down(model, h, wanted[knots], **plan)
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
    processes: Processes | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimates of log Z at rising `lengths` that are too low on average, their errors, and h at each length.

    Of several `processes` each has some of the populations.
    """
    check_count("n_chains", n_chains, low=4, remedy=TWO_POPULATIONS)
    check_count("sweeps", sweeps, low=1)
    schedule, wanted = _schedule(lengths), set(lengths.tolist())
    groups = min(POPULATIONS, n_chains // 2)
    peers, generator = share_chains(processes, generator)
    shape = (len(range(peers.rank, groups, peers.world_size)), n_chains // groups, model.hidden.size)
    chains = _Populations(model, bernoulli(model.weight.new_full(shape, 0.5), generator), generator)
    found, states = [], []
    for k, here in enumerate(schedule):
        if k > 0:
            chains.weigh(here - schedule[k - 1])
            chains.move(here, sweeps)
        if here in wanted:
            found.append(chains.log_means())
            states.append(chains.h.flatten(0, 1))
        if progress is not None:
            progress(k + 1, len(schedule))
    means = [log_mean_exp(row) for row in _joined(peers, torch.stack(found), 1)]
    numbers = torch.tensor([[mean.value, mean.stderr] for mean in means], dtype=torch.float64, device=chains.h.device)
    h = _joined(peers, torch.stack(states), 1)
    return numbers[:, 0] + model.hidden.size * math.log(2), numbers[:, 1], h


@torch.no_grad()
def anneal_down(
    model: ReplicatedSoftmax,
    h: Tensor,
    starts: Tensor,
    *,
    sweeps: int = 1,
    generator: Generator = None,
    processes: Processes | None = None,
) -> Tensor:
    """Estimates of log Z at rising lengths `starts` (m,) that are too high on average.

    `h` (m, chains, n_hidden) are draws of the model at each of them, annealed down to documents of no words. Of several
    `processes` each starts at some of the lengths.
    """
    check_count("sweeps", sweeps, low=1)
    peers, generator = share_chains(processes, generator)
    each = [torch.arange(len(starts))[rank :: peers.world_size] for rank in range(peers.world_size)]
    schedule, mine = _schedule(starts), starts[each[peers.rank]]
    chains = _Populations(model, h[each[peers.rank]].flip(0), generator)
    for here, below in zip(schedule[:0:-1], schedule[-2::-1], strict=True):
        n = int((mine >= here).sum())  # shorter documents have not started yet
        chains.weigh(below - here, n)
        chains.move(below, sweeps if below else 0, n)
    log_means = _joined(peers, chains.log_means().flip(0), 0)[torch.cat(each).argsort()]
    return model.hidden.size * math.log(2) - log_means


class _Populations:
    """Independent populations of weighted chains: h (populations, chains, n_hidden)."""

    def __init__(self, model: ReplicatedSoftmax, h: Tensor, generator: Generator) -> None:
        self.model, self.h, self.generator = model, h.clone(), generator
        self.log_weights = torch.zeros(h.shape[:2], dtype=torch.float64, device=h.device)
        self.carried = torch.zeros(len(h), dtype=torch.float64, device=h.device)  # log mean weights before a redraw

    def weigh(self, step: int, n: int | None = None) -> None:
        """Follow a step of the length in the weights of the first `n` populations; redraw where they are unequal."""
        self.log_weights[:n] += step * _word_potential(self.model, self.h[:n])
        p = torch.softmax(self.log_weights[:n], 1)
        for i in (p.square().sum(1) * p.shape[1] > 2).nonzero()[:, 0].tolist():  # an effective size below a half
            self.carried[i] = self.log_means()[i]
            u = torch.rand((), dtype=p.dtype, device=p.device, generator=self.generator)
            places = (torch.arange(p.shape[1], device=p.device) + u) / p.shape[1]
            self.h[i] = self.h[i, torch.searchsorted(p[i].cumsum(0), places).clamp_max(p.shape[1] - 1)]
            self.log_weights[i] = 0

    def move(self, length: int, sweeps: int, n: int | None = None) -> None:
        """Gibbs sweeps of the first `n` populations at this length."""
        flat = self.h[:n].flatten(0, 1)
        lengths = torch.full((len(flat),), length, device=flat.device)
        for _ in range(sweeps):
            flat = sweep(self.model, flat, lengths, self.generator)[2]
        self.h[:n] = flat.unflatten(0, (-1, self.h.shape[1]))

    def log_means(self) -> Tensor:
        """The logarithm of the mean weight of each population."""
        return self.carried + torch.logsumexp(self.log_weights, 1) - math.log(self.h.shape[1])


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


def _burn_in(
    model: ReplicatedSoftmax,
    h: Tensor,
    lengths: Tensor,
    n_steps: int,
    generator: Generator,
    processes: Processes | None,
) -> Tensor:
    """Sweeps with swaps of h (m, chains, n_hidden), in each process of some chains of every one of the m lengths."""
    peers, generator = share_chains(processes, generator)
    mine = h[:, peers.rank :: peers.world_size]
    flat, lengths = mine.flatten(0, 1), lengths.repeat_interleave(mine.shape[1])
    for _ in range(n_steps if len(flat) else 0):
        flat = sweep(model, swap(model, flat, lengths, generator)[0], lengths, generator)[2]
    return _joined(peers, flat.view(mine.shape), 1)


def _joined(peers: Processes, part: Tensor, dim: int) -> Tensor:
    """What every process has of a tensor, one after the other."""
    return torch.cat(peers.gather(part), dim)


def _chord(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Straight lines between the values at rising knots."""
    right = torch.searchsorted(knots, x).clamp(min(1, len(knots) - 1), len(knots) - 1)
    left = (right - 1).clamp_min(0)
    width = (knots[right] - knots[left]).clamp_min(1)
    return torch.lerp(values[left], values[right], ((x - knots[left]) / width).double())
