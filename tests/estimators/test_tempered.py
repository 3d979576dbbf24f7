"""Estimators learn and draw by tempering, and an RBM scores from below."""

import numpy as np
import pytest
import torch

from deepbelief.energy.partition.conservative import raise_log_likelihood
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.boltzmann import BoltzmannMachine
from deepbelief.estimators.boltzmann_classifier import DeepBoltzmannClassifier
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classification_rbm import ClassificationRBM
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.convolutional import ConvolutionalBeliefNetwork
from deepbelief.estimators.generative import LOG_Z_STREAM, SAMPLE_STREAM
from deepbelief.estimators.learning import settings_of
from deepbelief.estimators.rbm import RBM
from deepbelief.rng import make_generator

RATE = {"epochs": 40, "batch_size": 10, "learning_rate": 0.2}
PATTERNS = np.repeat([[0.0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0]], 50, axis=0)
LABELS = np.repeat(["a", "b"], 50)


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


ESTIMATORS = {
    "dbm": (DeepBoltzmannMachine((3, 2), epochs=1, n_replicas=3, random_state=0), None),
    "machine": (BoltzmannMachine(2, epochs=1, n_replicas=3, random_state=0), None),
    "classes": (ClassificationRBM(3, epochs=1, n_replicas=3, random_state=0), LABELS),
    "filters": (ConvolutionalBeliefNetwork(2, image_shape=(2, 3), filter_size=1, pool=1, n_replicas=3, epochs=1), None),
    "classifier": (DeepBoltzmannClassifier((3, 2), epochs=1, fine_tune_epochs=1, n_replicas=3, random_state=0), LABELS),
}


@pytest.mark.parametrize("which", ESTIMATORS)
def test_every_estimator_with_chains_to_temper_draws_what_its_module_draws(which: str) -> None:
    estimator, y = ESTIMATORS[which]
    estimator.fit(PATTERNS, y)
    module = estimator.dbm_ if which == "classifier" else estimator.module_
    wanted = module.sample(20, n_steps=5, method="pt", n_replicas=3, generator=make_generator(7, stream=SAMPLE_STREAM))
    np.testing.assert_array_equal(estimator.sample(20, n_steps=5, method="pt", random_state=7), wanted.numpy())
    assert not np.array_equal(estimator.sample(20, n_steps=5, random_state=7), wanted.numpy())
    with pytest.raises(InvalidArgumentError, match="n_replicas must be at least 2"):
        estimator.set_params(n_replicas=1).sample(2, method="pt")
    estimator.set_params(n_replicas=3)


def test_a_class_is_drawn_by_tempering_as_well() -> None:
    settings = {
        "learning": "pt",
        "n_replicas": 3,
        "epochs": 40,
        "batch_size": 10,
        "learning_rate": 0.05,
        "random_state": 0,
    }
    model = ClassificationRBM(4, objective="generative", **settings)
    drawn = model.fit(PATTERNS, LABELS).sample(50, label="b", method="pt", n_steps=40, random_state=0)
    assert (drawn == PATTERNS[50]).mean() > 0.9


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
