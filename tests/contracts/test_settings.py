"""A setting of the wrong kind gets one of the library's own sentences, whichever estimator and setting it is."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import deepbelief.estimators
from deepbelief.errors import DeepBeliefError, InvalidArgumentError, InvalidDataError
from tests.contracts.wings import bits

X = bits().numpy()[:12]
Y = np.arange(len(X)) % 2
ELSEWHERE = {"self", "device", "checkpoint_dir", "verbose", "random_state", "estimator"}  # torch's and scikit-learn's
QUICK = {"epochs": 1, "pretrain_epochs": 1, "fine_tune_epochs": 1}
WRONG = {"text": "lots", "NaN": math.nan}


def estimators() -> dict[str, type[BaseEstimator]]:
    """Every estimator that needs no other one, by name."""
    found = {}
    for module in pkgutil.iter_modules(deepbelief.estimators.__path__):
        file = importlib.import_module(f"deepbelief.estimators.{module.name}")
        for name, kind in vars(file).items():
            here = isinstance(kind, type) and issubclass(kind, BaseEstimator) and kind.__module__ == file.__name__
            if here and not name.startswith("_") and "epochs" in str(inspect.signature(kind)):
                found[name] = kind
    return found


KINDS = estimators()
ALL = [
    (kind, setting, isinstance(argument.default, bool))
    for kind in sorted(KINDS)
    for setting, argument in inspect.signature(KINDS[kind].__init__).parameters.items()
    if setting not in ELSEWHERE
]
SETTINGS = [(kind, setting) for kind, setting, flag in ALL if not flag]
FLAGS = [(kind, setting) for kind, setting, flag in ALL if flag]


def labels(kind: str) -> Any:
    """What `kind` is taught beside X."""
    if kind == "CycleGAN":
        return X
    return Y + 0.5 if "Regressor" in kind else Y


def test_all_estimators_are_seen() -> None:
    assert {"RBM", "DeepBeliefClassifier", "DeepBoltzmannMachine", "VAE", "GAN", "CycleGAN"} <= KINDS.keys()


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(("kind", "setting"), SETTINGS)
def test_a_setting_of_the_wrong_kind_is_told(kind: str, setting: str, value: Any) -> None:
    """Some take it (labels may be of any kind); what is refused is refused by us, not from below."""
    quick = {name: n for name, n in QUICK.items() if name in inspect.signature(KINDS[kind].__init__).parameters}
    estimator = KINDS[kind](**{**quick, "random_state": 0, setting: value})
    pictures = X.reshape(-1, 3, 3) if kind == "ConvolutionalBeliefNetwork" else X
    with suppress(DeepBeliefError):
        estimator.fit(pictures, labels(kind))


@pytest.mark.parametrize("value", ["no", 2, None], ids=str)
@pytest.mark.parametrize(("kind", "setting"), FLAGS)
def test_what_is_neither_true_nor_false_is_told(kind: str, setting: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{setting} must be True or False. Got {setting}={value!r}"):
        KINDS[kind](**{setting: value}).fit(X, labels(kind))


@pytest.mark.parametrize("frame", [True, False])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"RatingsRBM"}))  # whose users and items may have names
def test_text_among_the_numbers_is_told(kind: str, frame: bool) -> None:
    """With the column, where columns have names; a DataFrame of texts that are numbers is taken, as by scikit-learn."""
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(X).rename(columns=str).assign(kind=["cat", "dog"] * (len(X) // 2))
    data = table if frame else table.to_numpy()
    where = " in 'kind'" if frame else ""
    with pytest.raises(InvalidDataError, match=f"X must hold numbers. Got the text 'cat'{where}. Code it as numbers"):
        KINDS[kind]().fit(data, labels(kind))


def test_text_where_numbers_are_to_be_predicted_is_told() -> None:
    with pytest.raises(InvalidDataError, match=r"y must hold numbers\. Got 'cat'\. Use DeepBeliefClassifier"):
        KINDS["DeepBeliefRegressor"]().fit(X, ["cat"] * len(X))
