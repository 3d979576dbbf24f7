"""`RatingsRBM`: an RBM of ratings with missing entries as a recommender with scikit-learn's manners."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from deepbelief.data.arrays import is_frame
from deepbelief.data.source import make_source
from deepbelief.energy.gradients.ratings import RatingsLearning
from deepbelief.energy.ratings_rbm import FEATURES, Entries
from deepbelief.energy.ratings_rbm import RatingsRBM as RatingsRBMModule
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_choice, check_count
from deepbelief.estimators.arrays import device_of
from deepbelief.estimators.learning import InDouble, check_flags, folder_to_keep, parameter_type, trainer_options
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.storage import Savable
from deepbelief.rng import make_generator
from deepbelief.training.processes import connect
from deepbelief.training.schedules import make_schedule
from deepbelief.training.trainer import Trainer
from deepbelief.units.catalog import make_units

Array = NDArray[Any]
MOST_VALUES = 100
PAIRS_AT_ONCE = 1 << 22  # numbers held at once for pairs x values x hidden units


class RatingsRBM(Savable, BaseEstimator):
    """A recommender: learns who would rate what how, from the ratings that exist (Salakhutdinov, Mnih & Hinton 2007).

    Parameters
    ----------
    n_components : int
        Number of hidden units.
    cases : "items" or "users"
        What is a case of the RBM: an item over the users who rated it, or a user over the items. Take the side of which
        there are more: the other side owns the weights, and needs many ratings for each.
    hidden : "gaussian", "bernoulli" or "spin"
    features : "linear", "quadratic" or "free"
        How a rating enters: by its value, by its value and square, or with weights of its own for every value.
    rated : bool
        Let it count that something was rated at all (the "conditional" RBM of the paper).
    shrinkage : float or None
        Hidden units see their inputs divided by the root of the number of ratings plus this (learned from here on).
    learning : "pseudo_likelihood" or "cd"
        With "cd", `k` sweeps, or ``(first, last)`` between which they grow.
    epochs, batch_size, learning_rate, schedule, optimizer, averaging
        As for `deepbelief.RBM`; a batch is so many cases.
    l2, bias_l2
        Decay of the weights and of the biases of the single users (or items).
    device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`.

    Attributes
    ----------
    module_ : deepbelief.energy.ratings_rbm.RatingsRBM
        The model, a torch module.
    users_, items_, ratings_ : array
        The users, the items and the values of ratings that were seen, sorted.
    history_ : list of dict
        One row per epoch.

    Examples
    --------
    >>> from deepbelief import RatingsRBM
    >>> triples = [[user, item, 5 if (user + item) % 2 else 1] for user in range(20) for item in range(9)]
    >>> model = RatingsRBM(4, epochs=40, batch_size=3, learning_rate=0.05, random_state=0)
    >>> model = model.fit([row for row in triples if row[:2] != [3, 4]])
    >>> bool(model.predict([[3, 4]])[0] > 4)
    True
    """

    _stored = ("users_", "items_", "ratings_", "history_", "_seed", "_rows", "_columns", "_codes")

    def __init__(
        self,
        n_components: int = 20,
        *,
        cases: str = "items",
        hidden: str = "gaussian",
        features: str = "linear",
        rated: bool = True,
        shrinkage: float | None = 20.0,
        learning: str = "pseudo_likelihood",
        k: int | tuple[int, int] = 1,
        epochs: int = 30,
        batch_size: int = 500,
        learning_rate: float = 0.01,
        schedule: str = "linear",
        optimizer: str = "adam",
        l2: float = 3e-5,
        bias_l2: float = 1e-4,
        averaging: float | None = 0.95,
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.cases, self.hidden = n_components, cases, hidden
        self.features, self.rated, self.shrinkage = features, rated, shrinkage
        self.learning, self.k = learning, k
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.optimizer = learning_rate, schedule, optimizer
        self.l2, self.bias_l2, self.averaging = l2, bias_l2, averaging
        self.device, self.precision, self.checkpoint_dir = device, precision, checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from triples (user, item, rating), from pairs with ratings `y`, or from a sparse users x items matrix.

        Users and items are numbers or text. A matrix holds ratings where it holds numbers at all; its users and items
        are the numbers of its rows and columns.
        """
        check_flags(self)
        check_count("n_components", self.n_components, low=1)
        check_count("epochs", self.epochs, low=0)
        check_count("batch_size", self.batch_size, low=1)
        check_choice("cases", self.cases, ["items", "users"])
        check_choice("features", self.features, FEATURES)
        check_choice("hidden", self.hidden, ["gaussian", "bernoulli", "spin"])
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        self._keep_ratings(*_triples(X, y))
        model = RatingsRBMModule(
            self._n_columns,
            make_units(self.hidden, self.n_components, name="hidden"),
            self.ratings_.tolist(),
            features=self.features,
            rated=self.rated,
            shrinkage=self.shrinkage,
            generator=make_generator(seed),
        ).to(parameter_type(self))
        counts = np.zeros((self._n_columns, len(self.ratings_)))
        np.add.at(counts, (self._columns, self._codes - 1), 1)
        model.match_counts(torch.from_numpy(counts))
        source = make_source(
            self._matrix(), batch_size=self.batch_size, seed=seed, device=connect(self.device, devices=1).device
        )
        procedure = RatingsLearning(
            model,
            self.learning,  # type: ignore[arg-type]
            k=self.k,
            learning_rate=self.learning_rate,
            schedule=make_schedule(self.schedule, 1.0),
            optimizer=self.optimizer,  # type: ignore[arg-type]
            l2=self.l2,
            bias_l2=self.bias_l2,
        )
        options = {"seed": seed, "averaging": self.averaging, **trainer_options(self, model)}
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, **options)
        cases: Any = InDouble(source) if self.precision == "fp64" else source
        record = trainer.fit(procedure, cases, resume_from=None if resume_from is None else folder)
        self.module_, self.history_, self._seed = model, record.history, seed
        return self

    def _keep_ratings(self, users: Array, items: Array, values: Array) -> None:
        """Number users, items and values; of two ratings of one pair the last one holds."""
        self.users_, user = np.unique(users, return_inverse=True)
        self.items_, item = np.unique(items, return_inverse=True)
        self.ratings_, value = np.unique(values, return_inverse=True)
        if not 2 <= len(self.ratings_) <= MOST_VALUES:
            raise InvalidDataError(
                f"ratings must take from 2 to {MOST_VALUES} values. Got {len(self.ratings_)}. Round them first."
            )
        rows, columns = (item, user) if self.cases == "items" else (user, item)
        key = rows.astype(np.int64) * (int(columns.max()) + 1) + columns
        _, last = np.unique(key[::-1], return_index=True)
        kept = len(key) - 1 - last  # sorted by row, then by column
        self._rows, self._columns, self._codes = rows[kept], columns[kept], value[kept] + 1

    @property
    def _n_columns(self) -> int:
        return len(self.users_) if self.cases == "items" else len(self.items_)

    def _matrix(self) -> Any:
        n_rows = len(self.items_) if self.cases == "items" else len(self.users_)
        return sparse.csr_array(
            (self._codes.astype(np.float32), (self._rows, self._columns)), shape=(n_rows, self._n_columns)
        )

    # -- use --------------------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """The expected rating of each (user, item): (n, 2) -> (n,), exact under the model.

        It is taken given the other ratings of the item (or of the user, with ``cases="users"``). A user or item that
        was never seen counts as one without ratings; a pair without both gets the mean of all.
        """
        check_is_fitted(self, "module_")
        pairs = _pairs(X)
        user, item = _number(self.users_, pairs[:, 0]), _number(self.items_, pairs[:, 1])
        rows, columns = (item, user) if self.cases == "items" else (user, item)
        found = np.full(len(pairs), self.ratings_[self._codes - 1].mean())
        ways = np.flatnonzero(columns >= 0)
        found[ways] = self._expected(rows[ways], columns[ways])
        lone = np.flatnonzero((columns < 0) & (rows >= 0))
        found[lone] = self._row_means()[rows[lone]]
        return found

    def recommend(self, user: Any, n: int = 10, *, seen: bool = False) -> tuple[Array, Array]:
        """The `n` items with the highest expected rating for `user`, and these ratings; with `seen`, rated ones too."""
        check_is_fitted(self, "module_")
        check_count("n", n, low=1)
        number = int(_number(self.users_, np.asarray([user]))[0])
        if number < 0:
            raise InvalidArgumentError(f"user must be one of the users that were fitted. Got {user!r}.")
        rated = self._columns if self.cases == "users" else self._rows
        whose = self._rows if self.cases == "users" else self._columns
        open_items = np.ones(len(self.items_), dtype=bool)
        if not seen:
            open_items[rated[whose == number]] = False
        items = np.flatnonzero(open_items)
        users = np.full(len(items), number)
        scores = self._expected(*((items, users) if self.cases == "items" else (users, items)))
        best = np.argsort(-scores, kind="stable")[:n]
        return self.items_[items[best]], scores[best]

    def transform(self, X: Any) -> Array:
        """The means of the hidden units of items (of users, with ``cases="users"``): (n,) -> (n, n_components)."""
        check_is_fitted(self, "module_")
        known = self.items_ if self.cases == "items" else self.users_
        numbers = _number(known, np.asarray(X).reshape(-1))
        if (numbers < 0).any():
            what = np.asarray(X).reshape(-1)[numbers < 0][0]
            raise InvalidDataError(f"X must hold {self.cases} that were fitted. Got {what!r}.")
        with torch.no_grad():
            return self.module_.mean_h(self._entries(numbers)).cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the root mean squared error on triples, or on pairs with ratings `y` (higher is better)."""
        users, items, values = _triples(X, y)
        predicted = self.predict(np.stack([users.astype(object), items.astype(object)], 1))
        return -float(np.sqrt(np.mean((predicted - values) ** 2)))

    @torch.no_grad()
    def _expected(self, rows: Array, columns: Array) -> Array:
        """Expected ratings of pairs of numbers; a row below 0 is one without ratings."""
        known, place = np.unique(rows, return_inverse=True)
        entries = self._entries(known)
        sums = self.module_.sums(entries)
        keys, wanted = self._rows * self._n_columns + self._columns, rows * self._n_columns + columns
        at = np.searchsorted(keys, wanted).clip(0, len(keys) - 1)
        codes = np.where((rows >= 0) & (keys[at] == wanted), self._codes[at], 0)
        size = max(1, PAIRS_AT_ONCE // (len(self.ratings_) * self.n_components))
        triples = [torch.from_numpy(numbers).to(sums.device) for numbers in (place, columns, codes)]
        parts = zip(*(numbers.split(size) for numbers in triples), strict=True)
        found = [self.module_.log_conditional_of(entries, sums, *part).exp() @ self.module_.ratings for part in parts]
        return torch.cat(found).cpu().numpy().astype(np.float64) if found else np.empty(0)

    def _entries(self, rows: Array) -> Entries:
        """The ratings of some cases; a row below 0 has none."""
        device = device_of(self.module_)
        counts = np.where(rows >= 0, np.bincount(self._rows, minlength=int(self._rows.max()) + 1)[rows], 0)
        firsts = np.searchsorted(self._rows, np.maximum(rows, 0))
        index = np.repeat(firsts - np.concatenate([[0], counts.cumsum()[:-1]]), counts) + np.arange(counts.sum())
        numbers = (np.repeat(np.arange(len(rows)), counts), self._columns[index], self._codes[index] - 1, counts)
        return Entries(*(torch.from_numpy(part.astype(np.int64)).to(device) for part in numbers))

    def _row_means(self) -> Array:
        values, n = self.ratings_[self._codes - 1], np.bincount(self._rows)
        return np.bincount(self._rows, values) / np.maximum(n, 1)


def _triples(x: Any, y: Any) -> tuple[Array, Array, Array]:
    """Users, items and ratings as three columns."""
    if sparse.issparse(x):
        found = sparse.coo_array(x)
        columns = (found.coords[0], found.coords[1], np.asarray(found.data, dtype=np.float64))
    elif y is None:
        table = _table(x, 3, "X must be triples (user, item, rating), a sparse matrix, or pairs with ratings y")
        columns = (_plain(table[:, 0]), _plain(table[:, 1]), table[:, 2].astype(np.float64))
    else:
        pairs = _pairs(x)
        columns = (_plain(pairs[:, 0]), _plain(pairs[:, 1]), np.asarray(y, dtype=np.float64).reshape(-1))
    if len(columns[0]) != len(columns[2]) or len(columns[2]) == 0:
        raise InvalidDataError(f"y must hold one rating for each of at least 1 pair. Got {len(columns[2])} ratings.")
    if not np.isfinite(columns[2]).all():
        raise InvalidDataError("ratings must be finite. Got NaN or infinity. Leave out what was not rated.")
    return columns


def _pairs(x: Any) -> Array:
    return _table(x, 2, "X must be pairs (user, item)")


def _table(x: Any, width: int, rule: str) -> Array:
    """Rows of mixed kinds, numbers beside text, as they come."""
    table = x.to_numpy() if is_frame(x) else x if isinstance(x, np.ndarray) else np.array(list(map(tuple, x)), object)
    if table.ndim != 2 or table.shape[1] != width:
        raise InvalidDataError(f"{rule}. Got shape {table.shape}.")
    return table


def _plain(column: Array) -> Array:
    """A column of its own kind: whole numbers as integers, else text."""
    if column.dtype != object:
        whole = column.dtype.kind == "f" and (column == np.round(column)).all()
        return column.astype(np.int64) if whole else column
    listed = np.array(column.tolist())
    return listed if listed.dtype.kind in "iuf" else np.array([str(value) for value in column])


def _number(known: Array, wanted: Array) -> Array:
    """The place of each value among the sorted known ones, -1 where it is none of them."""
    values = _plain(np.asarray(wanted))
    if known.dtype.kind in "US":
        values = np.array([str(value) for value in wanted])
    elif values.dtype.kind in "US":
        return np.full(len(values), -1)
    place = np.searchsorted(known, values).clip(0, len(known) - 1)
    return np.where(known[place] == values, place, -1)
