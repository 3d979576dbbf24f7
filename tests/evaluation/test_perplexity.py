"""Perplexity per word against its definition, with both ends and its error."""

from __future__ import annotations

import math

import pytest
import torch

from deepbelief.energy.partition.lengths import LengthLogZ, log_z_of_lengths
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.perplexity import perplexity

X = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).double()


def test_a_model_that_knows_nothing_is_perplexed_at_every_word() -> None:
    found = perplexity(ReplicatedSoftmax(3, 2, weight_std=0.0).double(), X)
    assert found.kind == "exact"
    torch.testing.assert_close(found.value, 3.0)


def test_it_is_the_mean_over_documents_of_the_log_probability_of_a_word(generator: torch.Generator) -> None:
    model = ReplicatedSoftmax(3, 2, weight_std=1.0, generator=generator).double()
    log_p = model.log_likelihood(X[:2]).value / X[:2].sum(1)
    torch.testing.assert_close(perplexity(model, X).value, math.exp(-log_p.mean()))
    over_words = math.exp(-model.log_likelihood(X).value.sum() / X.sum())
    assert abs(float(perplexity(model, X)) - over_words) > 1e-3  # the average over words is another number


def test_both_ends_and_the_error_come_from_log_z() -> None:
    model, lengths = ReplicatedSoftmax(3, 2, weight_std=0.0).double(), torch.tensor([1, 3])
    exact = log_z_of_lengths(model, lengths).value
    z = LengthLogZ(lengths, exact, "estimate", torch.tensor([0.1, 0.3]), "made", exact - lengths, exact + lengths)
    found = perplexity(model, X, log_z=z)
    assert found.low is not None
    assert found.high is not None
    torch.testing.assert_close([found.low, found.high, found.stderr], [3 / math.e, 3 * math.e, 0.3])


def test_documents_without_a_word_have_none() -> None:
    with pytest.raises(InvalidDataError, match="at least one document with a word"):
        perplexity(ReplicatedSoftmax(3, 2), torch.zeros(2, 3))
