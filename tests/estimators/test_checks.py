"""scikit-learn's own checks of estimators, all of them.

One check asks that a weighted case equals a repeated one to seven digits. That holds for one layer; with several, the
layers above learn from draws of the layer below, one for each row, so it holds in law only.
"""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepbelief.estimators.bernoulli_rbm import BernoulliRBM
from deepbelief.estimators.boltzmann import BoltzmannMachine
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.estimators.regressor import DeepBeliefRegressor

QUICK: dict[str, Any] = {
    "pretrain_epochs": 2,
    "fine_tune_epochs": 30,
    "fine_tune_learning_rate": 0.05,
    "fine_tune_batch_size": 100,  # one batch, where weights equal repetitions to rounding
}
ESTIMATORS = [
    BernoulliRBM(8, n_iter=3),
    RBM(8, epochs=3, precision="fp64"),
    BoltzmannMachine(epochs=3, precision="fp64"),
    BoltzmannMachine(4, epochs=3, precision="fp64"),
    DeepBeliefNetwork((6,), epochs=3, precision="fp64"),
    DeepBeliefNetwork((6, 5), epochs=3),
    DeepBoltzmannMachine((6, 5), epochs=3, precision="fp64"),
    DeepBeliefClassifier((12,), precision="fp64", **QUICK),
    DeepBeliefRegressor((16,), precision="fp64", **QUICK),
]
IN_LAW_ONLY = "layers above learn from one draw per row: weights equal repetitions in law, not digit by digit"


def expected_failures(estimator: BaseEstimator) -> dict[str, str]:
    deep = isinstance(estimator, DeepBeliefNetwork) and len(estimator.hidden_layer_sizes) > 1
    checks = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
    return dict.fromkeys(checks, IN_LAW_ONLY) if deep else {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_estimator_passes_the_checks_of_scikit_learn(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)
