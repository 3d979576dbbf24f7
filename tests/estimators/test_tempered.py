"""The RBM estimator learns and draws by tempering."""

import numpy as np
import pytest

from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.learning import settings_of
from deepbelief.estimators.rbm import RBM

RATE = {"epochs": 40, "batch_size": 10, "learning_rate": 0.2}
PATTERNS = np.repeat([[0.0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0]], 50, axis=0)


@pytest.mark.parametrize("learning", ["fpcd", "pt", "ptt"])
def test_each_rule_learns_both_patterns_and_goes_on(learning: str) -> None:
    rbm = RBM(3, learning=learning, n_replicas=3, random_state=0, **RATE).fit(PATTERNS)
    before = rbm.score(PATTERNS)
    assert before > -2.5  # two patterns cost log 2, one pattern alone or independent pixels over 4 nats
    rbm.partial_fit(PATTERNS)
    assert abs(rbm.score(PATTERNS) - before) < 1


def test_tempered_draws_find_both_patterns_under_the_estimators_seed() -> None:
    rbm = RBM(4, n_replicas=4, random_state=0, **RATE).fit(PATTERNS)
    draws = rbm.sample(200, n_steps=40, method="pt")
    assert all((draws == pattern).all(1).mean() > 0.2 for pattern in PATTERNS[[0, 50]])
    np.testing.assert_array_equal(draws, rbm.sample(200, n_steps=40, method="pt"))
    means = rbm.sample(20, n_steps=10, method="pt", mean=True)
    assert ((means > 0) & (means < 1)).all()
    with pytest.raises(InvalidArgumentError, match="method must be one of 'gibbs', 'pt'"):
        rbm.sample(1, method="ptt")


def test_the_number_of_replicas_reaches_the_learning_where_an_estimator_has_it() -> None:
    assert settings_of(RBM(2, n_replicas=7), 1, 0.1).n_replicas == 7
    assert settings_of(DeepBeliefClassifier(), 1, 0.1).n_replicas == 10
