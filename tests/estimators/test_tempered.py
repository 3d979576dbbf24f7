"""The RBM estimator learns and draws by tempering, and scores from below."""

import numpy as np
import pytest
import torch

from deepbelief.energy.partition.conservative import raise_log_likelihood
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.generative import LOG_Z_STREAM
from deepbelief.estimators.learning import settings_of
from deepbelief.estimators.rbm import RBM
from deepbelief.rng import make_generator

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


def test_the_number_from_below_is_raise_on_the_scale_of_the_data() -> None:
    bits = RBM(3, random_state=0, **RATE).fit(PATTERNS)
    exact, low = bits.log_likelihood(PATTERNS).mean(), bits.annealed_log_likelihood(PATTERNS, n_temperatures=300)
    assert low.kind == "lower_bound"
    assert float(exact) - 0.3 < float(low.mean()) < float(exact) + 4.9 * low.stderr
    again = bits.annealed_log_likelihood(PATTERNS, n_temperatures=300)
    np.testing.assert_array_equal(low.value.numpy(), again.value.numpy())
    real = RBM(2, epochs=2, random_state=0).fit(3.0 * PATTERNS)
    assert real.visible_ == "gaussian"
    rows = torch.from_numpy((3.0 * PATTERNS - real.mean_) / real.scale_)
    wanted = raise_log_likelihood(
        real.module_.double(), rows, n_chains=2, betas=20, generator=make_generator(5, stream=LOG_Z_STREAM)
    )
    found = real.annealed_log_likelihood(3.0 * PATTERNS, n_temperatures=20, n_runs=2, random_state=5)
    np.testing.assert_allclose(found.value.numpy(), wanted.value.numpy() - np.log(real.scale_).sum(), rtol=1e-9)
