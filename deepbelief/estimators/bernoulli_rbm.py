"""`BernoulliRBM`: scikit-learn's, with the same arguments, attributes and methods, without its bias."""

from __future__ import annotations

import time
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from deepbelief.energy.rbm import RBM as RBMModule
from deepbelief.errors import DivergenceError, check, check_count, check_positive
from deepbelief.estimators.arrays import through, validated
from deepbelief.estimators.plain_pcd import PlainPCD
from deepbelief.estimators.rowwise import column_of_each_row
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.storage import Savable
from deepbelief.rng import make_generator

Array = NDArray[Any]


class BernoulliRBM(Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A restricted Boltzmann machine of binary units, learned by persistent contrastive divergence (Tieleman 2008).

    A drop-in for ``sklearn.neural_network.BernoulliRBM``: change the import and nothing else. One rule differs. The
    model's half of the gradient is an average over all ``batch_size`` chains and the data's half one over the rows of
    the batch, so a last batch of fewer rows is not biased; scikit-learn divides both by the rows. `score_samples` picks
    the variable of each case by the case and ``random_state`` alone, so that a score does not depend on its company.
    Learning runs in float32; what comes out has the type of `X`.

    For real-valued data, samples, completion and likelihoods use `deepbelief.RBM`.

    Parameters
    ----------
    n_components : int
        Number of hidden units.
    learning_rate, batch_size, n_iter
        Of the constant-rate updates, of each batch (and the number of chains), and the passes over the data.
    verbose : int
        Above 0, one line per iteration with the mean pseudo-likelihood.
    random_state : int, RandomState instance or None

    Attributes
    ----------
    components_ : (n_components, n_features), intercept_hidden_, intercept_visible_
        The parameters; setting them changes the model.
    h_samples_ : (batch_size, n_components)
        The hidden states of the chains.
    module_ : deepbelief.energy.rbm.RBM
        The model as a torch module, made anew from these arrays each time.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import BernoulliRBM
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = BernoulliRBM(n_components=2)
    >>> model.fit(X)
    BernoulliRBM(n_components=2)
    """

    _stored_arrays = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from X, (n_samples, n_features), dense or sparse, in `n_iter` passes."""
        self._check_arguments()
        X = validated(self, X, accept_sparse="csr", dtype=(np.float64, np.float32))
        generator = make_generator(seed_of(self.random_state))
        learner = PlainPCD.new(X.shape[1], self.n_components, self.batch_size, generator)
        began = time.perf_counter()
        for iteration in range(1, self.n_iter + 1):
            with learner.threads_that_pay(self.batch_size):
                for first in range(0, X.shape[0], self.batch_size):
                    learner.step(_rows(X[first : first + self.batch_size]), self.learning_rate, generator)
            if self.verbose:
                self._keep(learner, X.dtype)
                began = self._print_line(X, iteration, began)
        self._keep(learner, X.dtype)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One update from all rows of X as one batch; the chains go on where they were."""
        self._check_arguments()
        first = not hasattr(self, "components_")
        X = validated(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=first)
        if not hasattr(self, "random_state_"):
            self.random_state_ = check_random_state(self.random_state)
        generator = make_generator(self.random_state_)
        new = PlainPCD.new(X.shape[1], self.n_components, self.batch_size, generator) if first else None
        learner = self._learner() if new is None else new
        learner.step(_rows(X), self.learning_rate, generator)
        self._keep(learner, X.dtype if first else self.components_.dtype)
        return self

    def _check_arguments(self) -> None:
        for name, low in (("n_components", 1), ("batch_size", 1), ("n_iter", 0)):
            value = getattr(self, name)
            check(isinstance(value, Integral), f"{name} must be an integer. Got {name}={value!r}.")
            check_count(name, value, low=low)
        check_positive("learning_rate", self.learning_rate)

    def _learner(self) -> PlainPCD:
        """The parameters and chains as they are, to go on learning."""
        arrays = (self.components_.T, self.intercept_visible_, self.intercept_hidden_, self.h_samples_)
        return PlainPCD(*(torch.from_numpy(np.array(array, dtype=np.float32, order="C")) for array in arrays))

    def _keep(self, learner: PlainPCD, dtype: np.dtype[Any]) -> None:
        if not learner.is_finite():
            raise DivergenceError(
                f"learning diverged: parameters are not finite. Lower learning_rate (now {self.learning_rate}) or "
                "scale X to [0, 1]."
            )
        self.components_ = _array(learner.weight.T, dtype)
        self.intercept_hidden_ = _array(learner.c, dtype)
        self.intercept_visible_ = _array(learner.b, dtype)
        self.h_samples_ = _array(learner.h, dtype)

    def _print_line(self, x: Any, iteration: int, began: float) -> float:
        now = time.perf_counter()
        score, name = self.score_samples(x).mean(), type(self).__name__
        print(f"[{name}] Iteration {iteration}, pseudo-likelihood = {score:.2f}, time = {now - began:.2f}s")
        return time.perf_counter()

    # -- use --------------------------------------------------------------------------------------------------------

    @property
    def module_(self) -> RBMModule:
        """The model as a torch module with parameters of its own."""
        check_is_fitted(self, "components_")
        rbm = RBMModule(self.components_.shape[1], self.components_.shape[0], weight_std=0.0)
        rbm.to(torch.from_numpy(np.empty(0, dtype=self.components_.dtype)).dtype)
        with torch.no_grad():
            rbm.weight.copy_(torch.from_numpy(np.array(self.components_).T))
            rbm.hidden.bias.copy_(torch.from_numpy(np.array(self.intercept_hidden_)))
            rbm.visible.bias.copy_(torch.from_numpy(np.array(self.intercept_visible_)))
            offset = rbm.visible.mean(torch.zeros_like(rbm.visible_offset).unsqueeze(0))[0]
            rbm.visible_offset.copy_(offset)
            rbm.hidden_offset.copy_(rbm.mean_h_from_v(offset.unsqueeze(0))[0])
        return rbm

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def transform(self, X: Any) -> Array:
        """``P(h = 1 | v)``: (n_samples, n_features) -> (n_samples, n_components)."""
        check_is_fitted(self)
        X = validated(self, X, accept_sparse="csr", reset=False, dtype=(np.float64, np.float32))
        return through(self.module_, RBMModule.mean_h_from_v, X, _same)

    def gibbs(self, v: Any) -> Array:
        """One Gibbs step from `v`, (n_samples, n_features): a draw of h given v, then of v given h, as booleans."""
        check_is_fitted(self)
        if not hasattr(self, "random_state_"):
            self.random_state_ = check_random_state(self.random_state)
        generator = make_generator(self.random_state_)
        rows = v.tocsr() if sparse.issparse(v) else np.asarray(v)

        def step(rbm: RBMModule, x: torch.Tensor) -> torch.Tensor:
            return rbm.sample_v_from_h(rbm.sample_h_from_v(x, generator), generator).bool()

        return through(self.module_, step, rows, _same)

    def score_samples(self, X: Any) -> Array:
        """The pseudo-likelihood of each case in nats, estimated from one variable of it: (n_samples,).

        ``n_features * log p(v_i | the rest of v)`` for one i, drawn uniformly by the case and ``random_state``.
        """
        check_is_fitted(self)
        X = validated(self, X, accept_sparse="csr", reset=False, dtype=(np.float64, np.float32))
        seed, d = seed_of(self.random_state), X.shape[1]

        def score(rbm: RBMModule, x: torch.Tensor) -> torch.Tensor:
            rows, flipped = torch.arange(len(x)), x.clone()
            chosen = torch.from_numpy(column_of_each_row(x.numpy(), d, seed))
            flipped[rows, chosen] = 1 - x[rows, chosen]
            return d * torch.nn.functional.logsigmoid(rbm.free_energy(flipped) - rbm.free_energy(x))

        return through(self.module_, score, X, _same)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _rows(x: Any) -> torch.Tensor:
    """A float32 tensor of the rows of a dense or sparse matrix."""
    dense = x.toarray() if sparse.issparse(x) else x
    return torch.from_numpy(np.array(dense, dtype=np.float32))


def _array(tensor: torch.Tensor, dtype: np.dtype[Any]) -> Array:
    return tensor.detach().cpu().numpy().astype(dtype, copy=True)


def _same(rows: Array) -> Array:
    return rows
