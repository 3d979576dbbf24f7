"""`GenerativePipeline`: any estimators on top of each other, learned greedily, used and sampled end to end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if

from deepbelief.errors import check_count
from deepbelief.estimators.storage import Savable

Array = NDArray[Any]


def _can_sample(pipeline: Any) -> bool:
    below = [step for step in pipeline._below if not hasattr(step, "inverse_transform")]
    return not below and hasattr(pipeline[-1], "sample")


def _predicts(pipeline: Any) -> bool:
    return is_classifier(pipeline[-1]) or is_regressor(pipeline[-1])


class GenerativePipeline(Savable, Pipeline):
    """Scikit-learn's `Pipeline` with a way to draw: from the last step, and down through all others' ways back.

    Each step learns on what `transform` of those below makes of the data: an autoencoder's codes under an RBM, RBMs
    under a GAN, a DBN under a VAE, with scikit-learn's own steps among them. Hinton, Osindero & Teh (2006) learn a DBN
    so; of a DBN or of `VAEStack` the steps' laws join to one law of the data, of other mixtures they do not. **So there
    is no likelihood**: `score` and `score_samples` are not there, since the last step's are of codes, unless it
    predicts. Those of the codes are ``pipeline[-1].score(pipeline[:-1].transform(X))``.

    Parameters
    ----------
    steps : list of (name, estimator)
        From the data up. All but the last have `transform`; to draw they need `inverse_transform` too.
    memory, transform_input, verbose
        As for scikit-learn's `Pipeline`.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import RBM, Autoencoder, GenerativePipeline
    >>> X = (np.random.default_rng(0).random((200, 12)) < 0.3).astype(np.float32)
    >>> coder = Autoencoder((8, 4), epochs=5, random_state=0)
    >>> pipeline = GenerativePipeline([("codes", coder), ("law", RBM(5, epochs=5, random_state=0))]).fit(X)
    >>> pipeline.transform(X).shape, pipeline.sample(3, random_state=0, n_steps=20).shape
    ((200, 5), (3, 12))
    >>> hasattr(pipeline, "score")
    False
    """

    _stored_estimator = "steps"

    @property
    def _below(self) -> list[Any]:
        return [step for _, step in self.steps[:-1] if step not in (None, "passthrough")]

    @available_if(_can_sample)
    def sample(self, n_samples: int = 1, *, random_state: Any = None, **options: Any) -> Array:
        """New cases, (n_samples, n_features): codes drawn by the last step, carried down by each step below it.

        `options` are the last step's (`n_steps`, `mean` ...).
        """
        check_count("n_samples", n_samples, low=1)
        x = self[-1].sample(n_samples, random_state=random_state, **options)
        for step in reversed(self._below):
            x = step.inverse_transform(x)
        return np.asarray(x)

    @available_if(_predicts)
    def score(self, X: Any, y: Any = None, sample_weight: Any = None, **params: Any) -> float:
        """The last step's score of its predictions."""
        return float(super().score(X, y, sample_weight, **params))

    @available_if(_predicts)
    def score_samples(self, X: Any) -> Array:
        """The last step's."""
        return np.asarray(super().score_samples(X))
