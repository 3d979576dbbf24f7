"""Learning of topics: gradients against the exact perplexity, chains against the model at the documents' lengths."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients.topics import DocumentChains, DocumentDivergence, TopicLearning, shares
from deepbelief.energy.kernels.lengths import spread_lengths
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Procedure
from deepbelief.types import Batch
from deepbelief.units.multinomial import draw_counts
from tests.oracle.checks import largest_gap, make_context
from tests.oracle.documents import TOPICS, WORDS, documents, draw_many_fast, log_joint, tiny
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

close = torch.testing.assert_close


@pytest.fixture
def model(generator: torch.Generator) -> ReplicatedSoftmax:
    return tiny(generator)


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
    learning.rule.put_gradients(data, learning._moments(v, model.encode(v), torch.cat(shares_of_rows)))
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


def test_a_share_of_empty_documents_takes_part_in_the_average(model: ReplicatedSoftmax) -> None:
    """The other processes wait for it, and it says nothing."""
    alone, asked = make_context(torch.Generator()), []
    context = replace(alone, average=lambda tensors: asked.extend(tensors), world_size=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learning = TopicLearning(model, DocumentDivergence(), learning_rate=1.0, offset_rate=0.5)
    assert learning.step(Batch(torch.zeros(4, WORDS).double()), context) == {}
    assert len(asked) == len(list(model.parameters())) + 2
    assert not any(tensor.any() for tensor in (parameter.grad for parameter in model.parameters()))  # type: ignore[union-attr]
    close(dict(model.state_dict()), before)


def test_the_reconstruction_error_is_weighted(model: ReplicatedSoftmax) -> None:
    x = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]).double()
    errors = []
    for weight in (None, torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()):
        learning = TopicLearning(model, DocumentDivergence(), learning_rate=0.0)
        context = make_context(torch.Generator().manual_seed(0))
        errors.append(learning.step(Batch(x, weight=weight), context)["reconstruction_error"])
    close(errors[0], (errors[1] + errors[2]) / 2)  # type: ignore[operator]


def test_groups_are_refused(model: ReplicatedSoftmax) -> None:
    with pytest.raises(InvalidArgumentError, match="group_size must be None for learning topics"):
        TopicLearning(model, DocumentDivergence(), group_size=1, group_cost=0.1)
