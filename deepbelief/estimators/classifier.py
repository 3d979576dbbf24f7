"""`DeepBeliefClassifier`: pre-trained without labels, fine-tuned with those there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if

from deepbelief.errors import InvalidArgumentError, check
from deepbelief.estimators import generative as face
from deepbelief.estimators.classes import Classes
from deepbelief.estimators.storage import Savable
from deepbelief.estimators.supervised import Supervised, complete_with, is_fine_tuned, is_generative, unlabelled
from deepbelief.estimators.up_down import check_fine_tuning, has_bound
from deepbelief.types import Bound

Array = NDArray[Any]


class DeepBeliefClassifier(
    Supervised, Classes, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """A deep belief network fine-tuned to classify; made for few labels beside many cases without.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Numbers of hidden units from the bottom to the top.
    pretrain_epochs : int, sequence of int or None
        Passes over all cases, labelled or not, for each layer, None as the epochs of `deepbelief.RBM`; 0 leaves out
        pre-training, and with it `sample` and `complete`.
    learning_rate, schedule, momentum, l1, l2, centred, sparsity_target, averaging, learning, k, n_chains, \
binarization, tied, watch
        Of the pre-training, as for `deepbelief.DeepBeliefNetwork`.
    fine_tuning : str
        "backpropagation" of the unrolled network, or "up_down" of the generative model itself (Hinton, Osindero & Teh
        2006), which needs ``label_in_top`` and learns from the unlabelled cases as well.
    up_down_steps : int or sequence of int
        Steps of the top's chains per update in up-down, each number for an equal part of the epochs.
    discriminative : float
        In up-down, how much of the gradient of log p(y | x), as it classifies, is added; 0 is the published rule.
    fine_tune_epochs, fine_tune_learning_rate, fine_tune_schedule
        Of either. With None for the epochs, 100 passes over the labelled cases, or more (up to 400) where these are
        fewer than 3,000 steps. About 0.05 is a rate for up-down, which takes momentum, l2 and averaging from the
        pre-training and passes over all cases.
    optimizer, weight_decay, max_norm
        Of the back-propagation; optimizer is "adam", "sgd" or "lbfgs" (on all labelled cases at once).
    fine_tune_batch_size : int or None
        None takes about twenty batches per epoch, of at least 8 and at most `batch_size` cases: few labels make small
        batches, or there would be too few steps.
    dropout, input_dropout : float
        Shares of the hidden and of the input units that are switched off at random while fine-tuning.
    adversarial : float
        Above 0, half of the labels' loss is that of cases moved by so much in every input, the way that hurts
        (Goodfellow et al. 2015); in the units that the network sees, [0, 1] or standard deviations. In up-down it needs
        `discriminative`.
    virtual_adversarial, information : float
        With a radius above 0 all cases fine-tune, labelled or not: they keep their answers where they are moved so far
        (L2, in the units that the network sees) in the way that changes most (Miyato et al. 2018), and their answers
        tell classes apart, weighed by `information` (0 where classes are far from equally frequent). Epochs then pass
        over all cases. A fifth of a case's length is a radius to begin with: 2 for MNIST in [0, 1].
    early_stopping, patience, validation_fraction
        Hold out a share of the labelled cases, stop when their loss has not improved for `patience` epochs, and keep
        the best weights.
    label_in_top : bool
        Let the label sit in the top RBM as well: `sample` can then be given a label, and with ``fine_tune_epochs=0``
        the network classifies by free energies alone.
    visible, hidden, n_values, batch_size, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`.

    Attributes
    ----------
    classes_ : array
        The labels, sorted.
    module_ : deepbelief.belief.unrolled.UnrolledDBN
        The fine-tuned network, a torch module; after up-down the `deepbelief.belief.untied.UntiedDBN`.
    dbn_ : deepbelief.belief.dbn.DBN
        The generative model as it was before fine-tuning; after up-down that of ``module_``.
    history_, fine_tune_history_ : list of dict
        One row per epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import DeepBeliefClassifier
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> y = np.repeat(["right", "left"], 50)
    >>> model = DeepBeliefClassifier((8,), fine_tune_learning_rate=0.01, random_state=0)
    >>> model.fit(X[::10], y[::10], X_unlabeled=X).predict(X[[0, 50]]).tolist()
    ['right', 'left']
    """

    _stored = (*Supervised._stored, "classes_", "_log_z")
    _log_z: Bound | None = None
    _stored_module = "dbn_"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (500, 500),
        *,
        pretrain_epochs: int | Sequence[int] | None = None,
        fine_tuning: str = "backpropagation",
        up_down_steps: int | Sequence[int] = (3, 6, 10),
        discriminative: float = 0.0,
        fine_tune_epochs: int | None = None,
        fine_tune_batch_size: int | None = None,
        fine_tune_learning_rate: float = 3e-3,
        fine_tune_schedule: str = "linear",
        optimizer: str = "adam",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        adversarial: float = 0.0,
        virtual_adversarial: float = 0.0,
        information: float = 0.3,
        early_stopping: bool = False,
        patience: int = 10,
        validation_fraction: float = 0.1,
        label_in_top: bool = False,
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "pcd",
        k: int = 1,
        n_chains: int = 100,
        batch_size: int | None = None,
        learning_rate: float | Sequence[float] | None = None,
        schedule: str = "linear",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = True,
        sparsity_target: float | None = None,
        averaging: float | None = None,
        binarization: str = "none",
        tied: bool = False,
        watch: Sequence[str] = (),
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes, self.pretrain_epochs = hidden_layer_sizes, pretrain_epochs
        self.fine_tune_epochs, self.fine_tune_learning_rate = fine_tune_epochs, fine_tune_learning_rate
        self.fine_tune_batch_size = fine_tune_batch_size
        self.fine_tuning, self.up_down_steps, self.discriminative = fine_tuning, up_down_steps, discriminative
        self.fine_tune_schedule, self.optimizer = fine_tune_schedule, optimizer
        self.dropout, self.input_dropout = dropout, input_dropout
        self.weight_decay, self.max_norm, self.adversarial = weight_decay, max_norm, adversarial
        self.virtual_adversarial, self.information = virtual_adversarial, information
        self.early_stopping, self.patience = early_stopping, patience
        self.validation_fraction, self.label_in_top = validation_fraction, label_in_top
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains = learning, k, n_chains
        self.batch_size, self.learning_rate, self.schedule = batch_size, learning_rate, schedule
        self.momentum, self.l1, self.l2, self.centred = momentum, l1, l2, centred
        self.sparsity_target, self.averaging = sparsity_target, averaging
        self.binarization, self.tied, self.watch = binarization, tied, watch
        self.device, self.precision, self.checkpoint_dir = device, precision, checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_unlabeled: Any = None,
        resume_from: str | Path | None = None,
    ) -> Self:
        """Pre-train on X and `X_unlabeled`, then fine-tune on X and the labels y, of any type that can be sorted."""
        check(
            is_fine_tuned(self) or (self.label_in_top and is_generative(self)),
            "fine_tune_epochs must be at least 1 unless labels are learned in the top RBM. Got fine_tune_epochs=0. "
            "Use label_in_top=True with pretrain_epochs above 0.",
        )
        check_fine_tuning(self)
        X, codes, weight = self._checked_cases(X, y, sample_weight)
        self._log_z = None
        n_classes = len(self.classes_)
        self._learn(
            X,
            codes,
            weight,
            unlabelled(self, X_unlabeled),
            loss="cross_entropy",
            n_outputs=n_classes,
            n_classes=n_classes if self.label_in_top else None,
            resume_from=resume_from,
        )
        return self

    @available_if(is_generative)
    def sample(
        self,
        n_samples: int = 1,
        *,
        label: Any = None,
        random_state: Any = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: str = "gibbs",
    ) -> Array:
        """Draws from the generative model; `label`, one class or one for each draw, needs ``label_in_top``.

        `method` is "gibbs" or "pt", as for `deepbelief.DeepBeliefNetwork`.
        """
        columns, state = self._columns, self.random_state if random_state is None else random_state
        options: dict[str, Any] = {"n_steps": n_steps, "mean": mean, "method": method}
        if label is not None:
            options["labels"] = self._codes_of(label, n_samples).to(self.dbn_.top.weight.device)
        return face.sample(self.dbn_, columns, n_samples, state, **options)

    @available_if(is_generative)
    def complete(
        self, X: Any, known: Any = None, *, random_state: Any = None, n_steps: int = 200, n_average: int | None = None
    ) -> Array:
        """X with its missing entries (NaN, or where `known` is False) filled with their mean given the rest."""
        return complete_with(self, X, known, random_state, n_steps=n_steps, n_average=n_average)

    @available_if(has_bound)
    def log_likelihood(self, X: Any, *, n_samples: int = 10) -> Bound:
        """``log p(x)`` of each case from below, in nats, the label summed out: of ``module_`` after up-down.

        The variational bound of `deepbelief.DeepBeliefNetwork.log_likelihood`, from `n_samples` draws of the hidden
        layers of each case. It is there where ``module_`` is a generative model: after up-down, or with the labels in
        the top and ``fine_tune_epochs=0``; not after back-propagation, which leaves ``dbn_`` as it was before.
        """
        return face.bound_of_stack(self, self.module_, self._columns, X, n_samples)

    def _codes_of(self, label: Any, n: int) -> torch.Tensor:
        if not self.label_in_top:
            raise InvalidArgumentError(
                f"label_in_top must be True to sample given a label. Got label={label!r}. Fit with label_in_top=True."
            )
        labels = np.broadcast_to(np.asarray(label), (n,))
        unknown = [value for value in labels.tolist() if value not in self.classes_.tolist()]
        if unknown:
            raise InvalidArgumentError(f"label must be one of {self.classes_.tolist()}. Got {unknown[0]!r}.")
        return torch.from_numpy(np.searchsorted(self.classes_, labels))
