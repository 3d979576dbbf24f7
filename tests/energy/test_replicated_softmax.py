"""The replicated softmax against the sum over every document of a small vocabulary, word by word in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.kernels import lengths as kernel
from deepbelief.energy.kernels.lengths import swap, sweep
from deepbelief.energy.partition import lengths as partition
from deepbelief.energy.partition.ais import ais
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.partition.lengths import anneal_down, anneal_up, log_z_of_lengths
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax, log_orders
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.protocols import Coder, Density, Sampler, Storable
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model
from deepbelief.training.processes import Processes
from deepbelief.types import Clamp
from deepbelief.units.multinomial import draw_counts
from tests.oracle.documents import TOPICS, documents, draw_many_fast, hidden_states, log_joint, tiny
from tests.oracle.pvalues import FALSE_ALARM, corrected, counts_p_value, means_p_value

CHAINS = 20_000
close = torch.testing.assert_close


@pytest.fixture
def model(generator: torch.Generator) -> ReplicatedSoftmax:
    return tiny(generator)


# -- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 4])
def test_energies_and_log_z_are_those_of_the_words_in_order(model: ReplicatedSoftmax, length: int) -> None:
    table, v = log_joint(model, length), documents(length).sum(1)
    for i, h in enumerate(hidden_states()):
        close(model.energy(v, h.expand(len(v), -1)), -table[:, i])
        close(length * model.word_potential(h.unsqueeze(0)), torch.logsumexp(table[:, i], 0).unsqueeze(0))
    close(model.free_energy(v), -torch.logsumexp(table, 1))
    close(model.encode(v), torch.softmax(table, 1) @ hidden_states())
    z = log_z_of_lengths(model, torch.tensor([length]))
    assert z.kind == "exact"
    close(z.value, torch.logsumexp(table.flatten(), 0).unsqueeze(0))
    close(model.log_likelihood(v).value, torch.logsumexp(table - z.value, 1))
    close(torch.logsumexp(model.log_likelihood(v).value, 0), torch.zeros(()).double())


def test_word_probabilities_are_the_conditional_law_of_one_word(model: ReplicatedSoftmax) -> None:
    close(model.decode(hidden_states()), torch.softmax(log_joint(model, 1), 0).T)


@pytest.mark.parametrize("length", [1, 3])
def test_at_one_length_it_is_an_rbm_of_counts(model: ReplicatedSoftmax, length: int) -> None:
    rbm, v = model.at_length(length), documents(length).sum(1)
    close(float(exact_log_z(rbm)), log_z_of_lengths(model, torch.tensor([length])).value.item())
    close(rbm.log_likelihood(v).value, model.log_likelihood(v).value + log_orders(v))
    close(rbm.encode(v), model.encode(v))
    close(rbm.decode(hidden_states()), length * model.decode(hidden_states()))


def test_drawn_counts_have_their_lengths_and_their_law(generator: torch.Generator) -> None:
    p, n = torch.tensor([[0.5, 0.0, 0.2, 0.3], [0.05, 0.9, 0.05, 0.0]]).double(), torch.tensor([3, 0, 5])
    assert draw_counts(p[[0, 0, 1]], n, generator).sum(1).tolist() == [3, 0, 5]
    drawn = draw_counts(p.repeat(CHAINS, 1), torch.tensor([4, 7]).repeat(CHAINS), generator)
    for i, total in enumerate((4, 7)):
        rows, there = drawn[i::2], p[i] > 0
        assert not rows[:, ~there].any()
        assert counts_p_value(rows.sum(0), p[i]) > FALSE_ALARM
        second = (total * p[i] * (1 - p[i]) + (total * p[i]) ** 2)[there]
        assert means_p_value(rows[:, there] ** 2, second) > FALSE_ALARM


# -- chains ---------------------------------------------------------------------------------------------------------


def law_of_h(model: ReplicatedSoftmax, length: int) -> Tensor:
    return torch.softmax(torch.logsumexp(log_joint(model, length), 0), 0).detach() if length else torch.full((4,), 0.25)


def h_p_value(model: ReplicatedSoftmax, h: Tensor, lengths: Tensor) -> float:
    numbers = (h @ torch.tensor([2.0, 1.0]).double()).long()
    p_values = []
    for d in lengths.unique():
        counts = torch.bincount(numbers[lengths == d], minlength=4)
        p_values.append(counts_p_value(counts, law_of_h(model, int(d))))
    return corrected(p_values)


def test_a_sweep_keeps_the_law_of_every_length(model: ReplicatedSoftmax, generator: torch.Generator) -> None:
    lengths = torch.arange(4).repeat(CHAINS)
    starts = draw_many(model, lengths, generator)
    v, _, h = sweep(model, starts, lengths, generator)
    assert torch.equal(v.sum(1).long(), lengths)
    assert h_p_value(model, h, lengths) > FALSE_ALARM


def draw_many(model: ReplicatedSoftmax, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Exact draws of h for many chains of few lengths."""
    h = torch.empty(len(lengths), TOPICS, dtype=torch.float64)
    for d in lengths.unique():
        here = lengths == d
        number = torch.multinomial(law_of_h(model, int(d)), int(here.sum()), replacement=True, generator=generator)
        h[here] = hidden_states()[number]
    return h


def swapped_p_value(model: ReplicatedSoftmax, start: Tensor, generator: torch.Generator) -> float:
    """Pairs of chains of 1 and 4 words that start at their exact joint law, after one offer to swap each."""
    swapped = [swap(model, pair, torch.tensor([1, 4]), generator)[0] for pair in start.split(2)]
    return h_p_value(model, torch.cat(swapped), torch.tensor([1, 4]).repeat(len(start) // 2))


def test_a_swap_keeps_the_law_and_a_wrong_ratio_does_not(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(torch.Generator().manual_seed(5), scale=1.2)
    start = draw_many(model, torch.tensor([1, 4]).repeat(2000), generator)
    assert swapped_p_value(model, start, generator) > FALSE_ALARM
    monkeypatch.setattr(ReplicatedSoftmax, "word_potential", lambda self, h: torch.zeros(len(h)).double())
    assert swapped_p_value(model, start, generator) < FALSE_ALARM  # the planted bug: every swap is accepted


def test_samples_have_the_law_and_a_clamp_is_refused(model: ReplicatedSoftmax, generator: torch.Generator) -> None:
    drawn = model.sample(CHAINS, length=2, n_steps=30, generator=generator)
    p = model.log_likelihood(documents(2).sum(1)).value.exp().detach()
    counts, place = torch.unique(documents(2).sum(1), dim=0, return_inverse=True)
    law = torch.zeros(len(counts)).double().index_add(0, place, p)
    number = (drawn.unsqueeze(1) == counts).all(2).double().argmax(1)
    assert counts_p_value(torch.bincount(number, minlength=len(counts)), law) > FALSE_ALARM
    with pytest.raises(InvalidArgumentError, match="condition must be None"):
        model.sample(1, condition=Clamp(torch.zeros(3), torch.ones(3).bool()))


# -- log Z ----------------------------------------------------------------------------------------------------------

LENGTHS = torch.tensor([1, 2, 4, 7])


def annealing_p_value(model: ReplicatedSoftmax, generator: torch.Generator, *, reverse: bool) -> float:
    """``<w> = Z_D / Z_0`` upwards, ``<w> = Z_0 / Z_D`` from exact draws downwards, for every length of one run."""
    truth = log_z_of_lengths(model, torch.cat([torch.zeros(1).long(), LENGTHS]), "exact").value
    estimates = []
    for _ in range(60):
        if reverse:
            start = draw_many_fast(model, LENGTHS.repeat_interleave(50), generator).unflatten(0, (4, 50))
            found = anneal_down(model, start, LENGTHS, generator=generator)
            estimates.append((truth[1:] - found).exp())
        else:
            estimates.append((anneal_up(model, LENGTHS, 100, generator=generator)[0] - truth[1:]).exp())
    return means_p_value(torch.stack(estimates), 1.0)


@pytest.mark.parametrize("reverse", [False, True])
def test_annealing_along_the_length_is_unbiased(
    reverse: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(torch.Generator().manual_seed(5))
    assert annealing_p_value(model, generator, reverse=reverse) > FALSE_ALARM
    honest = kernel.sweep
    late = lambda model, h, lengths, generator: honest(model, h, lengths + 1, generator)  # sweeps of the wrong length
    monkeypatch.setattr(partition, "sweep", late)
    assert annealing_p_value(model, generator, reverse=reverse) < FALSE_ALARM


@pytest.mark.parametrize("length", [1, 3, 6])
def test_annealing_at_one_length_is_unbiased(model: ReplicatedSoftmax, length: int, generator: torch.Generator) -> None:
    rbm = model.at_length(length)
    weights = ais(rbm, n_chains=CHAINS, betas=[0.0, 0.5, 1.0], generator=generator).log_weights
    ratio = float(exact_log_z(rbm)) - float(exact_log_z(rbm.base()))
    assert means_p_value((weights - ratio).exp(), 1.0) > FALSE_ALARM


def test_the_bracket_holds_the_truth_and_lies_in_order(model: ReplicatedSoftmax, generator: torch.Generator) -> None:
    lengths = torch.tensor([3, 9, 9, 1, 40, 300])
    exact = log_z_of_lengths(model, lengths, "exact")
    found = log_z_of_lengths(
        model, lengths, "ais", n_chains=300, n_reverse=3, reverse_chains=50, burn_in=20, generator=generator
    )
    assert found.lengths.tolist() == exact.lengths.tolist() == [1, 3, 9, 40, 300]
    assert found.low is not None
    assert found.high is not None
    assert (found.high >= found.low).all()
    assert ((found.low - exact.value).abs() < 6 * found.stderr + 1e-9).all()
    assert (found.high >= exact.value - 6 * found.stderr).all()


def in_processes(n: int, work: Callable[[Processes], Any]) -> list[Any]:
    """What ``work(processes)`` gives in each of `n` processes, which are threads here."""
    table: list[Any] = [None] * n
    barrier = Barrier(n, timeout=60)

    class Peer(Processes):
        def gather(self, state: Any) -> list[Any]:
            table[self.rank] = state
            barrier.wait()
            found = list(table)
            barrier.wait()
            return found

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda rank: work(Peer(torch.device("cpu"), rank, n)), range(n)))


@pytest.mark.parametrize("reverse", [False, True])
def test_annealing_by_several_processes_is_unbiased(reverse: bool) -> None:
    model = tiny(torch.Generator().manual_seed(5))
    truth = log_z_of_lengths(model, LENGTHS, "exact").value

    def work(processes: Processes) -> Tensor:
        ratios = []
        for seed in range(40):
            how: dict[str, Any] = {"generator": make_generator(seed), "processes": processes}
            if reverse:
                start = draw_many_fast(model, LENGTHS.repeat_interleave(50), make_generator(seed, stream=1))
                ratios.append((truth - anneal_down(model, start.unflatten(0, (4, 50)), LENGTHS, **how)).exp())
            else:
                ratios.append((anneal_up(model, LENGTHS, 100, **how)[0] - truth).exp())
        return torch.stack(ratios)

    found = in_processes(3, work)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert means_p_value(found[0], 1.0) > FALSE_ALARM


def test_processes_without_a_chain_of_their_own_get_the_result_too(model: ReplicatedSoftmax) -> None:
    def work(processes: Processes) -> Any:
        how: dict[str, Any] = {"n_chains": 6, "n_reverse": 2, "reverse_chains": 3, "burn_in": 2}
        return log_z_of_lengths(model, LENGTHS, "ais", generator=make_generator(0), processes=processes, **how)

    found = in_processes(4, work)
    for z in found:
        assert torch.equal(z.low, found[0].low)
        assert torch.equal(z.high, found[0].high)
        assert z.stderr.isfinite().all()


def test_log_z_is_convex_in_the_length(model: ReplicatedSoftmax) -> None:
    value = log_z_of_lengths(model, torch.arange(30), "exact").value
    assert (value.diff().diff() >= -1e-9).all()
    close(value[0].item(), TOPICS * 0.6931471805599453)


# -- the rest -------------------------------------------------------------------------------------------------------


def test_capabilities_and_storage(model: ReplicatedSoftmax, tmp_path: object) -> None:
    assert all(isinstance(model, capability) for capability in (Sampler, Density, Coder, Storable))
    save_model(model, f"{tmp_path}/model")
    v = documents(3).sum(1)
    close(load_model(f"{tmp_path}/model").free_energy(v), model.free_energy(v), rtol=0, atol=0)


def test_match_data_starts_at_the_shares_of_the_words() -> None:
    model = ReplicatedSoftmax(3, 2, weight_std=0.0).double()
    model.match_data(torch.tensor([[2.0, 0.0, 1.0], [3.0, 0.0, 4.0]]))
    close(model.decode(torch.zeros(1, 2).double())[0], torch.tensor([5.0, 0.1, 5.0]).double() / 10.1)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        ([[1.0, -1.0, 0.0]], r"X must hold counts: whole numbers of at least 0. Got a value of -1"),
        ([[0.5, 0.0, 0.0]], r"Got a value of 0.5. Give word counts, not frequencies"),
        ([[float("nan"), 0.0, 0.0]], r"Got a value of nan"),
        ([[1.0, 0.0]], r"X must have shape \(cases, 3\)"),
    ],
)
def test_what_are_no_counts_gets_a_sentence(model: ReplicatedSoftmax, x: list[list[float]], sentence: str) -> None:
    with pytest.raises(InvalidDataError, match=sentence):
        model.log_likelihood(torch.tensor(x).double())


def test_a_length_without_log_z_gets_a_sentence(model: ReplicatedSoftmax) -> None:
    z = log_z_of_lengths(model, torch.tensor([2, 5]))
    with pytest.raises(InvalidArgumentError, match=r"every length of the documents\. Got none for 3 words"):
        model.log_likelihood(torch.tensor([[3.0, 0.0, 0.0]]).double(), log_z=z)
    with pytest.raises(InvalidArgumentError, match="lengths must be at least 0"):
        log_z_of_lengths(model, torch.empty(0).long())
    with pytest.raises(InvalidArgumentError, match="at most 4,194,304 states"):
        log_z_of_lengths(ReplicatedSoftmax(3, 40), torch.tensor([2]), "exact")
