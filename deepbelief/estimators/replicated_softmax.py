"""`ReplicatedSoftmax`: topics of word counts as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.topics import DocumentChains, DocumentDivergence, TopicLearning
from deepbelief.energy.partition.lengths import LengthLogZ, log_z_of_lengths
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax as Module
from deepbelief.errors import InvalidDataError, check_choice, check_count
from deepbelief.estimators.arrays import checked, dense_chunks, device_of, in_type, through, to_tensor, working_type
from deepbelief.estimators.generative import LOG_Z_STREAM, SAMPLE_STREAM
from deepbelief.estimators.learning import folder_to_keep, trainer_options
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.storage import Savable
from deepbelief.evaluation.perplexity import perplexity
from deepbelief.rng import make_generator
from deepbelief.training.processes import connect
from deepbelief.training.schedules import make_schedule
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound

Array = NDArray[Any]


class ReplicatedSoftmax(Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Topics, features and perplexities of documents from their word counts (Salakhutdinov & Hinton 2009).

    Parameters
    ----------
    n_components : int
        Number of hidden units, the topics. A document may have any set of them.
    learning : "pcd" or "cd"
        Persistent chains, `n_chains` of them over `n_ladder` helpers of a few words, or contrastive divergence; with
        `k` Gibbs steps per update.
    objective : "word" or "document"
        Whether each document or each word counts alike; perplexity is of the first kind.
    epochs, batch_size, learning_rate, schedule, l2, averaging
        As in `RBM`; steps are Adam's.
    log_z_chains : int
        Chains of annealing, for likelihoods and perplexities where there are more than 12 topics.
    device, precision
        "auto", "cpu", "cuda" ...; "fp32" or "bf16".
    checkpoint_dir : path
        Where a checkpoint is kept; ``fit(X, resume_from=checkpoint_dir)`` goes on.
    verbose : int
    random_state : int, RandomState instance or None

    Attributes
    ----------
    module_ : deepbelief.energy.replicated_softmax.ReplicatedSoftmax
    history_ : list of dict
        One row per epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import ReplicatedSoftmax
    >>> X = np.repeat([[3, 2, 0, 0], [0, 0, 2, 4]], 50, axis=0)  # counts of 4 words in 100 documents
    >>> topics = ReplicatedSoftmax(2, epochs=60, learning_rate=0.05, random_state=0).fit(X)
    >>> bool(topics.perplexity(X).value < 3)
    True
    >>> topics.perplexity(X).kind
    'exact'
    """

    _stored = ("history_", "_seed")

    def __init__(
        self,
        n_components: int = 50,
        *,
        learning: str = "pcd",
        k: int = 1,
        n_chains: int = 100,
        n_ladder: int = 20,
        objective: str = "word",
        epochs: int = 20,
        batch_size: int = 100,
        learning_rate: float = 0.003,
        schedule: str = "linear",
        l2: float = 0.0,
        averaging: float | None = None,
        log_z_chains: int = 500,
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.learning, self.k, self.n_chains, self.n_ladder = learning, k, n_chains, n_ladder
        self.objective, self.epochs, self.batch_size = objective, epochs, batch_size
        self.learning_rate, self.schedule = learning_rate, schedule
        self.l2, self.averaging, self.log_z_chains = l2, averaging, log_z_chains
        self.device, self.precision = device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from counts X (n_documents, n_words), dense or sparse; `y` is not used.

        Fractional counts are taken too (expected counts, say), with lengths rounded for the model's half; they have
        no perplexity.
        """
        check_choice("learning", self.learning, ["pcd", "cd"])
        check_choice("precision", self.precision, ["fp32", "bf16"])
        check_count("n_components", self.n_components, low=1)
        check_count("batch_size", self.batch_size, low=1)
        X = self._checked(X, reset=True)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        module = Module(X.shape[1], self.n_components, generator=make_generator(seed))
        source = make_source(X, seed=seed, batch_size=self.batch_size, device=connect(self.device, devices=1).device)
        module.match_data(torch.as_tensor(np.asarray(X.sum(0), dtype=np.float64)).reshape(1, -1))
        options = {"seed": seed, "averaging": self.averaging, **trainer_options(self, module)}
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, **options)
        record = trainer.fit(self._procedure(module), source, resume_from=None if resume_from is None else folder)
        self.module_, self.history_, self._seed = module, record.history, seed
        return self

    def _procedure(self, module: Module) -> TopicLearning:
        chains = DocumentChains(self.n_chains, self.k, n_ladder=self.n_ladder)
        return TopicLearning(
            module,
            chains if self.learning == "pcd" else DocumentDivergence(self.k),
            objective=self.objective,
            learning_rate=self.learning_rate,
            schedule=make_schedule(self.schedule, 1.0),
            optimizer="adam",
            l2=self.l2,
        )

    def _checked(self, X: Any, *, reset: bool = False) -> Any:
        X = checked(self, X, reset=reset)
        if X.shape[1] < 2:
            raise InvalidDataError(f"X must have at least 2 words. Got n_features={X.shape[1]}. Widen the vocabulary.")
        if X.min() < 0:
            raise InvalidDataError(f"Negative values in data: X must hold counts of at least 0. Got {X.min():g}.")
        return X

    @property
    def _n_features_out(self) -> int:
        return self.module_.hidden.size

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """The means of the topics: (n_documents, n_words) -> (n_documents, n_components)."""
        check_is_fitted(self, "module_")
        return through(self.module_, lambda twin, rows: twin.encode(rows), self._checked(X), lambda rows: rows)

    def sample(self, n_samples: int = 1, *, length: int = 100, random_state: Any = None, n_steps: int = 1000) -> Array:
        """Counts of `n_samples` documents of `length` words: the ends of chains of `n_steps` Gibbs sweeps."""
        check_is_fitted(self, "module_")
        state = self.random_state if random_state is None else random_state
        generator = make_generator(seed_of(state), device_of(self.module_), stream=SAMPLE_STREAM)
        return self.module_.sample(n_samples, length=length, n_steps=n_steps, generator=generator).cpu().numpy()

    def log_likelihood(self, X: Any) -> Bound:
        """The log-likelihood of each document's words in order, nats, with its kind: exact, or an estimate."""
        module, rows, z = self._scored(X)
        return module.log_likelihood(rows, log_z=z)

    def score_samples(self, X: Any) -> Array:
        """The values of `log_likelihood` as an array: (n_documents,)."""
        return self.log_likelihood(X).value.cpu().numpy()  # type: ignore[union-attr]

    def score(self, X: Any, y: Any = None) -> float:
        """The mean log-likelihood in nats per document."""
        return float(self.score_samples(X).mean())

    def perplexity(self, X: Any) -> Bound:
        """The perplexity per word, averaged over documents as it is published; see `deepbelief.evaluation.perplexity`.

        Of kind "exact" with at most 12 topics; else an estimate between ``low`` (from annealing upwards, which
        flatters) and ``high``.
        """
        module, rows, z = self._scored(X)
        return perplexity(module, rows, log_z=z)

    def _scored(self, X: Any) -> tuple[Module, Tensor, LengthLogZ]:
        """The module and documents in one type, and log Z of their lengths (annealed together, by the fit's seed)."""
        check_is_fitted(self, "module_")
        X, device = self._checked(X), device_of(self.module_)
        dtype = working_type(X, device)
        rows = torch.cat([to_tensor(chunk, dtype, device) for chunk in dense_chunks(X)])
        generator = make_generator(self._seed, device, stream=LOG_Z_STREAM)
        lengths = self.module_.check_counts(rows)
        documents = rows.to(self.module_.weight)
        z = log_z_of_lengths(
            self.module_, lengths, n_chains=self.log_z_chains, documents=documents, generator=generator
        )
        return in_type(self.module_, dtype), rows, z

    def top_words(self, vocabulary: Sequence[str] | None = None, n: int = 10) -> list[list[str]]:
        """The `n` words whose probability each topic raises most, one list for each topic.

        Without a `vocabulary` the words are the names of X's columns, if it had them.
        """
        check_is_fitted(self, "module_")
        weight = self.module_.weight.detach().cpu()
        numbers = [str(i) for i in range(len(weight))]
        words = list(getattr(self, "feature_names_in_", numbers) if vocabulary is None else vocabulary)
        if len(words) != len(weight):
            raise InvalidDataError(f"vocabulary must hold {len(weight)} words, one a column. Got {len(words)}.")
        check_count("n", n, low=1, high=len(weight))
        return [[str(words[i]) for i in column.topk(n).indices.tolist()] for column in weight.T]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
