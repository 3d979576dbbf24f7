"""Matrix factors after a model in a pipeline: there and back, what they are made of, and who must be non-negative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, MiniBatchDictionaryLearning
from sklearn.pipeline import make_pipeline

from deepbelief import RBM, Autoencoder

X = (load_digits().data[:150] / 16).astype(np.float32)
MODELS: dict[str, Any] = {
    "rbm": RBM(12, epochs=2, random_state=0),
    "autoencoder": Autoencoder((), n_components=12, code="relu", epochs=2, random_state=0),
}
FACTORS: dict[str, Any] = {
    "nmf": NMF(5, init="nndsvda", max_iter=50, tol=1e-2, random_state=0),
    "dictionary": MiniBatchDictionaryLearning(
        20, max_iter=1, transform_algorithm="omp", transform_n_nonzero_coefs=3, random_state=0
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("factors", FACTORS)
def test_there_and_back_is_the_product_of_both(model: str, factors: str) -> None:
    chain = make_pipeline(clone(MODELS[model]), clone(FACTORS[factors])).fit(X)
    first, second = chain[0], chain[1]
    w = chain.transform(X)
    codes = w @ second.components_
    if hasattr(second, "inverse_transform"):  # dictionaries have it in newer versions of scikit-learn only
        np.testing.assert_allclose(chain.inverse_transform(w), first.inverse_transform(codes), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(w, second.transform(first.transform(X)), rtol=1e-4, atol=1e-6)
    if factors == "dictionary":
        assert (np.count_nonzero(w, axis=1) <= 3).all()
    else:
        assert w.min() >= 0
    names = chain.get_feature_names_out()
    assert len(names) == len(set(names)) == w.shape[1]


def test_signed_codes_have_no_non_negative_factors() -> None:
    signed = Autoencoder((), n_components=12, code="identity", epochs=2, random_state=0)
    with pytest.raises(ValueError, match="Negative values in data passed to NMF"):
        make_pipeline(signed, clone(FACTORS["nmf"])).fit(X)
