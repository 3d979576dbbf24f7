"""The replicated softmax against the sum over every document of a small vocabulary, word by word in order."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients.topics import DocumentChains, DocumentDivergence, TopicLearning, shares
from deepbelief.energy.kernels import lengths as kernel
from deepbelief.energy.kernels.lengths import spread_lengths, swap, sweep
from deepbelief.energy.partition import lengths as partition
from deepbelief.energy.partition.ais import ais
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.partition.lengths import anneal_down, anneal_up, log_z_of_lengths
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax, log_orders
from deepbelief.energy.units.multinomial import draw_counts
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.protocols import Coder, Density, Procedure, Sampler, Storable
from deepbelief.storage import load_model, save_model
from deepbelief.types import Batch, Clamp
from tests.oracle.checks import largest_gap, make_context
from tests.oracle.pvalues import FALSE_ALARM, corrected, counts_p_value, means_p_value

WORDS, TOPICS = 3, 2
CHAINS = 20_000
close = torch.testing.assert_close


@torch.no_grad()
def tiny(generator: torch.Generator, scale: float = 0.8) -> ReplicatedSoftmax:
    model = ReplicatedSoftmax(WORDS, TOPICS).double()
    for parameter in model.parameters():
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    model.visible_offset.copy_(torch.tensor([0.5, 0.2, 0.3]))
    model.hidden_offset.copy_(torch.tensor([0.3, 0.6]))
    return model


@pytest.fixture
def model(generator: torch.Generator) -> ReplicatedSoftmax:
    return tiny(generator)


def hidden_states() -> Tensor:
    return torch.tensor(list(product((0.0, 1.0), repeat=TOPICS))).double()


def documents(length: int) -> Tensor:
    """Every document of this many words, as one-hot rows in order: (documents, length, WORDS)."""
    return torch.tensor([[[float(k == w) for k in range(WORDS)] for w in words] for words in words_of(length)]).double()


def words_of(length: int) -> list[tuple[int, ...]]:
    return list(product(range(WORDS), repeat=length))


def log_joint(model: ReplicatedSoftmax, length: int, p: dict[str, Tensor] | None = None) -> Tensor:
    """``-E`` of every document and every h from the definition, word by word: (documents, states of h)."""
    own = {"weight": model.weight, "visible.bias": model.visible.bias, "hidden.bias": model.hidden.bias}
    weight, b, c = (p or own).values()
    total = (length * (hidden_states() @ c)).expand(len(words_of(length)), -1)
    for i in range(length):
        word = documents(length)[:, i]
        total = total + (word @ b).unsqueeze(1) + word @ weight @ hidden_states().T
    return total


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


def draw_many_fast(model: ReplicatedSoftmax, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Exact draws from ``p_D(h) ~ exp(D a(h))``, which a test above has held to the sum over documents."""
    law = torch.softmax(lengths.unsqueeze(1) * model.word_potential(hidden_states()), 1).detach()
    return hidden_states()[torch.multinomial(law, 1, generator=generator)[:, 0]]


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


def test_log_z_is_convex_in_the_length(model: ReplicatedSoftmax) -> None:
    value = log_z_of_lengths(model, torch.arange(30), "exact").value
    assert (value.diff().diff() >= -1e-9).all()
    close(value[0].item(), TOPICS * 0.6931471805599453)


# -- learning -------------------------------------------------------------------------------------------------------


def mean_score(model: ReplicatedSoftmax, p: dict[str, Tensor], x: Tensor, objective: str, weight: Tensor) -> Tensor:
    """The mean of ``log p(v) / D`` over documents, or of ``log p(v)`` per word, from the sums over all documents."""
    lengths, total = x.sum(1), torch.zeros(()).double()
    share = weight * lengths if objective == "document" else weight
    share = share / share.sum()
    for row, d, s in zip(x, lengths.long().tolist(), share, strict=True):
        table = log_joint(model, d, p)
        fits = (documents(d).sum(1) == row).all(1)
        total = total + s * (torch.logsumexp(table[fits][0], 0) - torch.logsumexp(table.flatten(), 0)) / d
    return total


@pytest.mark.parametrize("objective", ["word", "document"])
@pytest.mark.parametrize("centred", [True, False])
def test_the_gradient_is_that_of_the_perplexity(
    objective: str, centred: bool, model: ReplicatedSoftmax, generator: torch.Generator
) -> None:
    x = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]).double()
    weight = torch.tensor([1.0, 2.0, 0.5]).double()
    learning = TopicLearning(model, DocumentDivergence(), objective=objective, centred=centred, learning_rate=0.0)
    data = learning._moments(x, model.encode(x), weight)
    rows, shares_of_rows = [], []
    for row, w in zip(x, weight, strict=True):
        v = documents(int(row.sum())).sum(1)
        rows.append(v)
        shares_of_rows.append(w * model.log_likelihood(v).value.exp())
    v = torch.cat(rows)
    learning._set_gradients(data, learning._moments(v, model.encode(v), torch.cat(shares_of_rows)))
    found = {name: -parameter.grad for name, parameter in model.named_parameters()}  # type: ignore[operator]
    wanted = score_gradient(model, x, objective, weight, centred)
    assert largest_gap(found, wanted) < 1e-9


def score_gradient(
    model: ReplicatedSoftmax, x: Tensor, objective: str, weight: Tensor, centred: bool
) -> dict[str, Tensor]:
    """By automatic differentiation, in the parameters ``b' = b + W lambda``, ``c' = c + W' mu`` where centred."""
    mu = model.visible_offset * float(centred)
    lambda_ = model.hidden_offset * float(centred)
    w = model.weight.detach().clone().requires_grad_()
    b = (model.visible.bias + w @ lambda_).detach().requires_grad_()
    c = (model.hidden.bias + w.T @ mu).detach().requires_grad_()
    plain = {"weight": w, "visible.bias": b - w @ lambda_, "hidden.bias": c - w.T @ mu}
    score = mean_score(model, plain, x, objective, weight)
    dw, db, dc = torch.autograd.grad(score, [w, b, c])
    return {"weight": dw, "visible.bias": db - dw @ lambda_, "hidden.bias": dc - dw.T @ mu}


def phase_p_value(model: ReplicatedSoftmax, phase: DocumentChains, generator: torch.Generator) -> float:
    """Moments of chains that start at exact draws, against those of the model at the lengths of the batch."""
    lengths, batch = torch.tensor([1, 3]), torch.tensor([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]]).double()
    estimates = []
    for _ in range(400):
        both = torch.cat([torch.arange(phase.n_ladder), spread_lengths(lengths, phase.n_chains)])
        phase.h = draw_many_fast(model, both, generator)
        v, mean, _ = phase.draw(model, batch, model.encode(batch), None, generator)
        estimates.append(torch.cat([shares(v).mean(0), mean.mean(0), (shares(v).T @ mean / len(v)).flatten()]))
    wanted = torch.zeros_like(estimates[0])
    for d in (1, 3):
        v = documents(d).sum(1)
        p, mean = model.log_likelihood(v).value.exp().unsqueeze(1), model.encode(v)
        wanted += torch.cat([(p * v / d).sum(0), (p * mean).sum(0), ((p * v / d).T @ mean).flatten()]) / 2
    return means_p_value(torch.stack(estimates), wanted)


@pytest.mark.parametrize("n_ladder", [0, 3])
def test_persistent_chains_average_to_the_model_at_the_batchs_lengths(
    n_ladder: int, model: ReplicatedSoftmax, generator: torch.Generator
) -> None:
    assert phase_p_value(model, DocumentChains(20, 2, n_ladder=n_ladder), generator) > FALSE_ALARM


def test_chains_of_the_wrong_lengths_are_found_out(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: chains keep a length of their own instead of the documents'."""
    model = tiny(torch.Generator().manual_seed(5))
    wrong = lambda v: torch.full((len(v),), 3)
    monkeypatch.setattr("deepbelief.energy.gradients.topics.lengths_of", wrong)
    assert phase_p_value(model, DocumentChains(20, 2), generator) < FALSE_ALARM


def test_spread_lengths_are_the_quantiles() -> None:
    lengths = torch.tensor([9, 1, 5, 3])
    assert spread_lengths(lengths, 4).tolist() == [1, 3, 5, 9]
    assert spread_lengths(lengths, 8).tolist() == [1, 1, 3, 3, 5, 5, 9, 9]
    assert spread_lengths(lengths, 1).tolist() == [3]
    assert spread_lengths(lengths, 3, torch.tensor([1.0, 0.0, 0.0, 2.0])).tolist() == [3, 3, 9]


def learned(generator: torch.Generator, negative: object, steps: int = 200, **options: object) -> tuple[float, float]:
    """Mean exact log p per word of documents of two topics, one word or two others, before and after learning."""
    topics, lengths = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]).double(), torch.tensor([3, 6, 12])
    x = draw_counts(topics.repeat(60, 1), lengths.repeat_interleave(40), generator)
    model = ReplicatedSoftmax(WORDS, TOPICS, generator=generator).double()
    model.match_data(x)
    score = lambda: (model.log_likelihood(x).value / x.sum(1)).mean().item()
    before = score()
    procedure = TopicLearning(model, negative, learning_rate=0.02, optimizer="adam", **options)  # type: ignore[arg-type]
    assert isinstance(procedure, Procedure)
    procedure.start(Batch(x), generator)
    for _ in range(steps):
        procedure.step(Batch(x), make_context(generator))
    return before, score()


@pytest.mark.parametrize("negative", [DocumentDivergence(1), DocumentChains(60, 1, n_ladder=5)], ids=["cd", "pcd"])
def test_learning_raises_the_exact_likelihood(negative: object, generator: torch.Generator) -> None:
    before, after = learned(generator, negative)
    assert after > before + 0.1


def test_resumed_learning_is_as_if_it_had_never_stopped(generator: torch.Generator) -> None:
    x = torch.randint(0, 3, (20, WORDS), generator=generator).double()

    def run(model: ReplicatedSoftmax, n: int, state: object = None, seed: int = 0) -> TopicLearning:
        procedure = TopicLearning(model, DocumentChains(10, n_ladder=3), optimizer="adam")
        procedure.start(Batch(x), torch.Generator().manual_seed(0))
        if state is not None:
            procedure.load_state_dict(state)  # type: ignore[arg-type]
        for i in range(n):
            procedure.step(Batch(x), make_context(torch.Generator().manual_seed(seed + i)))
        return procedure

    whole, halves = tiny(torch.Generator().manual_seed(1)), tiny(torch.Generator().manual_seed(1))
    run(whole, 6)
    state = run(halves, 3).state_dict()
    run(halves, 3, state, seed=3)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, halves.get_parameter(name))


def test_empty_documents_say_nothing(model: ReplicatedSoftmax) -> None:
    x = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]).double()
    gradients = []
    for rows in (x, x[:1]):
        procedure = TopicLearning(model, DocumentDivergence(), learning_rate=0.0, offset_rate=0.0)
        procedure.step(Batch(rows), make_context(torch.Generator().manual_seed(0)))
        gradients.append(model.weight.grad)
    assert torch.equal(*gradients)  # type: ignore[arg-type]
    assert TopicLearning(model, DocumentDivergence()).step(Batch(x[1:]), make_context(torch.Generator())) == {}
    close(model.log_likelihood(x[1:]).value, torch.zeros(1).double())  # one document of no words


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
