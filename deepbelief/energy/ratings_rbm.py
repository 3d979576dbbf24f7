"""The RBM for ratings with missing entries: a softmax unit for every rating that exists, none for those that do not.

Given which columns i a row has rated (r, of number n), with values k of features phi_k:

    E(v, h | r) = U_h(h) - sum_{i in r} [ b(v_i) + phi(v_i)' a_i ] - sum_j s_j(n) h_j x_j(v)
    x(v)        = sum_{i in r} (phi(v_i) - m_i)' W_i + D_i

D says what it means that a column was rated at all. With free features (phi one-hot), m = 0 and s = 1 this is the
conditional RBM of Salakhutdinov, Mnih & Hinton 2007, "Restricted Boltzmann machines for collaborative filtering".
Linear features (the rating itself) tie the weights of a column's values, ``m_i`` are the column's mean features, and
``s_j(n) = (n + shrinkage_j)^(-1/2)`` makes a hidden unit see an average where long rows would saturate it by their sum.
Both depend on r alone, so the law given r stays that of an RBM: `rbm_of` writes it down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError, check, check_choice, check_count, check_range
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.types import Bound, Kind
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.catalog import units_from_config
from deepbelief.units.categorical import Categorical

FEATURES = ("free", "linear", "quadratic")
WEIGHT_STD, FIRST_SHRINKAGE = 0.1, 5.0
PRIOR_RATINGS = 5.0  # a column's mean features are drawn towards the overall ones by as many ratings


@dataclass(frozen=True)
class Entries:
    """The ratings of a batch of rows, one entry each: row, column and number of the value; `counts` per row."""

    rows: Tensor
    columns: Tensor
    values: Tensor
    counts: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Entries:
        """From rows of codes: 0 where nothing is rated, 1 + the number of the value elsewhere."""
        rows, columns = (x != 0).nonzero(as_tuple=True)
        return cls(rows, columns, x[rows, columns].long() - 1, torch.bincount(rows, minlength=len(x)))

    def __len__(self) -> int:
        return len(self.rows)


class RatingsRBM(nn.Module):
    """An RBM over `n_columns` softmax units of the given `ratings` (sorted values), of which each row has some.

    A batch is (n, n_columns) codes: 0 for no rating, k + 1 for the rating number k. `hidden` is any kind of units, an
    integer means Bernoulli units; Gaussian ones make the classical factors. ``shrinkage=None`` takes s = 1.

    >>> model = RatingsRBM(5, 3, [1.0, 2.0, 3.0], generator=torch.Generator().manual_seed(0))
    >>> x = torch.tensor([[1, 0, 3, 0, 0], [0, 2, 0, 0, 0]])
    >>> model.expected(x, torch.tensor([0, 1]), torch.tensor([4, 0])).shape
    torch.Size([2])
    """

    features: Tensor
    centre: Tensor
    ratings: Tensor

    def __init__(
        self,
        n_columns: int,
        hidden: Units | int,
        ratings: Sequence[float],
        *,
        features: str = "linear",
        rated: bool = True,
        shrinkage: float | None = 20.0,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        check_count("n_columns", n_columns, low=1)
        check_choice("features", features, FEATURES)
        check(
            len(ratings) >= 2 and list(ratings) == sorted(set(ratings)),
            f"ratings must be at least 2 values in rising order. Got {list(ratings)}.",
        )
        if shrinkage is not None:
            check_range("shrinkage", shrinkage, low=1e-6)
        self.hidden = hidden if isinstance(hidden, Units) else Bernoulli(hidden)
        self.kind, self.n_columns, self.shrinkage = features, n_columns, shrinkage
        self.register_buffer("ratings", torch.tensor([float(value) for value in ratings]))
        self.register_buffer("features", self._features(torch.ones(len(ratings))))
        n_features, n_hidden = self.features.shape[1], self.hidden.size
        self.register_buffer("centre", torch.zeros(n_columns, n_features))
        self.value_bias = nn.Parameter(torch.zeros(len(ratings)))
        self.column_bias = nn.Parameter(torch.zeros(n_columns, n_features))
        std = WEIGHT_STD if shrinkage else 0.1 * WEIGHT_STD
        self.weight = nn.Parameter(std * torch.randn(n_columns, n_features, n_hidden, generator=generator))
        self.shared_weight = nn.Parameter(torch.zeros(n_features, n_hidden))
        self.rated = nn.Parameter(torch.zeros(n_columns, n_hidden)) if rated else None
        self.log_shrinkage = nn.Parameter(torch.full((n_hidden,), math.log(shrinkage))) if shrinkage else None
        self._start_first_unit()
        for name, parameter in self.hidden.named_parameters():
            parameter.requires_grad_(name == "bias")  # a free precision would undo the decay of the weights

    @torch.no_grad()
    def _start_first_unit(self) -> None:
        """The first hidden unit starts as the row's general level: every column alike, little shrinkage."""
        direction = torch.linalg.pinv(self.features) @ self._standard(torch.ones_like(self.ratings))
        self.shared_weight[:, 0] = direction if self.log_shrinkage is not None else 0.1 * direction
        if self.log_shrinkage is not None:
            self.log_shrinkage[0] = math.log(min(FIRST_SHRINKAGE, self.log_shrinkage[0].exp().item()))

    def _standard(self, share: Tensor) -> Tensor:
        """The ratings with mean 0 and variance 1 under these shares."""
        share = share.to(self.ratings) / share.sum()
        mean = share @ self.ratings
        return (self.ratings - mean) / (share @ (self.ratings - mean).square()).sqrt().clamp_min(1e-6)

    def _features(self, share: Tensor) -> Tensor:
        """phi of every value: (n_values, n_features)."""
        if self.kind == "free":
            return torch.eye(len(self.ratings)).to(self.ratings)
        z = self._standard(share)
        return torch.stack([z, z.square() - 1][: 1 if self.kind == "linear" else 2], 1)

    # -- energies ---------------------------------------------------------------------------------------------------

    def weights_of(self, columns: Tensor) -> Tensor:
        """``W_i``, the shared part included: (m,) -> (m, n_features, n_hidden)."""
        return self.weight.index_select(0, columns) + self.shared_weight

    def column_logits(self, columns: Tensor) -> Tensor:
        """``b(k) + phi_k' a_i`` for every value k: (m,) -> (m, n_values)."""
        return self.value_bias + self.column_bias.index_select(0, columns) @ self.features.T

    def contributions(self, columns: Tensor, values: Tensor) -> Tensor:
        """What one rating adds to x(v): (m,), (m,) -> (m, n_hidden)."""
        centred = (self.features[values] - self.centre[columns]).unsqueeze(1)
        sent = _product(centred, self.weights_of(columns)).squeeze(1)
        return sent if self.rated is None else sent + self.rated.index_select(0, columns)

    def all_contributions(self, columns: Tensor) -> Tensor:
        """`contributions` of every value: (m,) -> (m, n_values, n_hidden)."""
        centred = self.features - self.centre[columns].unsqueeze(1)
        sent = _product(centred, self.weights_of(columns))
        return sent if self.rated is None else sent + self.rated.index_select(0, columns).unsqueeze(1)

    def sums(self, entries: Entries) -> Tensor:
        """``x(v)`` of each row: (n, n_hidden)."""
        each = self.contributions(entries.columns, entries.values)
        return each.new_zeros(len(entries.counts), self.hidden.size).index_add(0, entries.rows, each)

    def scale(self, counts: Tensor) -> Tensor:
        """``s_j(n)``: (n,) -> (n, n_hidden)."""
        if self.log_shrinkage is None:
            return torch.ones_like(self.hidden.bias).expand(len(counts), -1)
        return (counts.to(self.hidden.bias).unsqueeze(1) + self.log_shrinkage.exp()).rsqrt()

    def free_energy(self, x: Tensor) -> Tensor:
        """``F(v | r)`` in nats, one per row of codes: (n, n_columns) -> (n,)."""
        entries = Entries.of(x)
        own = self.column_logits(entries.columns).gather(1, entries.values.unsqueeze(1)).squeeze(1)
        biases = own.new_zeros(len(x)).index_add(0, entries.rows, own)
        return -biases - self.hidden.cumulant(self.scale(entries.counts) * self.sums(entries))

    # -- conditionals -----------------------------------------------------------------------------------------------

    def mean_h(self, entries: Entries) -> Tensor:
        """``<h>`` given the ratings: (n, n_hidden)."""
        return self.hidden.mean(self.scale(entries.counts) * self.sums(entries))

    def value_logits(self, columns: Tensor, scaled_h: Tensor) -> Tensor:
        """Logits of the values given ``s h`` of each entry's row: (m,), (m, n_hidden) -> (m, n_values)."""
        sent = (self.weights_of(columns) @ scaled_h.unsqueeze(2)).squeeze(2)  # (m, n_features)
        return self.column_logits(columns) + sent @ self.features.T

    @torch.no_grad()
    def resample(self, entries: Entries, generator: Generator) -> Entries:
        """One Gibbs sweep: h given the ratings, then new values of the same entries given h."""
        scale = self.scale(entries.counts)
        h = self.hidden.sample(scale * self.sums(entries), generator)
        p = torch.softmax(self.value_logits(entries.columns, (scale * h)[entries.rows]), 1)
        below = p.cumsum(1)
        values = (below[:, :-1] <= uniform_like(below[:, :1], generator) * below[:, -1:]).sum(1)
        return Entries(entries.rows, entries.columns, values, entries.counts)

    def log_conditional(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """``log p(v_i = k | the row's other ratings)`` for every k, exact: (m,), (m,) -> (m, n_values).

        A rating that `x` holds for the pair itself is not looked at.
        """
        entries, code = Entries.of(x), x[rows, columns].long()
        return self.log_conditional_of(entries, self.sums(entries), rows, columns, code)

    def log_conditional_of(self, entries: Entries, sums: Tensor, rows: Tensor, columns: Tensor, code: Tensor) -> Tensor:
        """`log_conditional` with ``x(v)`` of the rows known; `code` is the pair's own code, 0 where there is none."""
        there = (code > 0).unsqueeze(1)
        own = torch.where(there, self.contributions(columns, code.clamp_min(1) - 1), sums.new_zeros(()))
        scale = self.scale(entries.counts[rows] + (code == 0))
        inputs = (sums.index_select(0, rows) - own).unsqueeze(1) + self.all_contributions(columns)
        terms = self.hidden.cumulant(scale.unsqueeze(1) * inputs)
        return torch.log_softmax(self.column_logits(columns) + terms, 1)

    def expected(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The expected rating of each pair given the row's other ratings: (m,), (m,) -> (m,)."""
        return self.log_conditional(x, rows, columns).exp() @ self.ratings

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The means of the hidden units: (n, n_columns) -> (n, n_hidden)."""
        return self.mean_h(Entries.of(x))

    def rbm_of(self, columns: Tensor) -> RBM:
        """The ordinary RBM that a row with ratings in these columns is: softmax visible units, one for each column."""
        scale = self.scale(torch.tensor([len(columns)]))[0]
        rbm = RBM(Categorical(len(columns), len(self.ratings)), self.hidden.empty_like(), weight_std=0.0).to(
            self.weight
        )
        with torch.no_grad():
            rbm.hidden.load_state_dict(self.hidden.state_dict())
            rbm.visible.bias.copy_(self.column_logits(columns).flatten())
            rbm.weight.copy_((scale * self.all_contributions(columns)).flatten(0, 1))
            visible = torch.full_like(rbm.visible_offset, 1 / len(self.ratings))
            rbm.visible_offset.copy_(visible)
            rbm.hidden_offset.copy_(rbm.mean_h_from_v(visible.unsqueeze(0))[0])
        return rbm

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, *, generator: Generator = None) -> Bound:
        """``log p(v | r)``, nats per row: each row has a log Z of its own, exact where it is small, else annealed."""
        zs = [self._log_z_of(row.nonzero().squeeze(1), generator) for row in x]
        kind: Kind = "exact" if all(z.kind == "exact" for z in zs) else "estimate"
        log_z = torch.tensor([float(z.value) for z in zs], dtype=torch.float64, device=x.device)
        stderr = max((z.stderr for z in zs), default=0.0)
        return Bound(-self.free_energy(x).double() - log_z, kind, stderr, "log Z of each row's RBM")

    def _log_z_of(self, columns: Tensor, generator: Generator) -> Bound:
        """log Z of a row with ratings in these columns; of none, that of the hidden units alone."""
        if len(columns):
            return choose_log_z(self.rbm_of(columns), generator=generator)
        return Bound(self.hidden.cumulant(torch.zeros_like(self.hidden.bias)).item(), "exact")

    # -- starting points and storage --------------------------------------------------------------------------------

    @torch.no_grad()
    def match_counts(self, counts: Tensor) -> None:
        """Start learning from how often each value was given in each column: (n_columns, n_values)."""
        total = counts.sum(0).to(self.ratings)
        self.features.copy_(self._features(total))
        self.value_bias.copy_(torch.log((total / total.sum()).clamp_min(1e-4)))
        overall = (total / total.sum()) @ self.features
        n = counts.sum(1, keepdim=True).to(self.ratings)
        summed = counts.to(self.ratings) @ self.features
        self.centre.copy_((summed + PRIOR_RATINGS * overall) / (n + PRIOR_RATINGS))

    def check_values(self, x: Tensor, name: str = "X") -> None:
        """Raise `InvalidDataError` unless `x` is (n, n_columns) codes."""
        if x.ndim != 2 or x.shape[1] != self.n_columns:
            raise InvalidDataError(f"{name} must have shape (rows, {self.n_columns}). Got {tuple(x.shape)}.")
        if x.numel() and not (x.min() >= 0 and x.max() <= len(self.ratings) and (x == x.round()).all()):
            raise InvalidDataError(
                f"{name} must hold codes from 0 (no rating) to {len(self.ratings)}. "
                f"Got values from {x.min().item():g} to {x.max().item():g}."
            )

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {
            "n_columns": self.n_columns,
            "hidden": self.hidden.config(),
            "ratings": self.ratings.tolist(),
            "features": self.kind,
            "rated": self.rated is not None,
            "shrinkage": self.shrinkage,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        options = {name: config[name] for name in ("features", "rated", "shrinkage")}
        return cls(config["n_columns"], units_from_config(config["hidden"]), config["ratings"], **options)


def _product(features: Tensor, weights: Tensor) -> Tensor:
    """``features @ weights`` of many small matrices; with a single feature a broadcast is several times as fast."""
    return features * weights if features.shape[-1] == 1 else features @ weights
