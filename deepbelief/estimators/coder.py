"""A fitted estimator as a `Coder` of tensors: cases on the scale of the data, codes as its module makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.columns import Columns
from deepbelief.protocols import Coder


class EstimatorCoder:
    """What `deepbelief.evaluation.latent` takes, over any estimator whose module has `encode` and `decode`.

    ``encode`` is (n, n_features) -> (n, k), ``decode`` is (n, k) -> (n, n_features); a conditional model is given the
    rows of `condition_rows`. Raises `InvalidArgumentError` for an estimator that has not both ways.

    >>> from deepbelief import VAE
    >>> x = torch.rand(20, 6)
    >>> coder = EstimatorCoder(VAE(2, hidden_layer_sizes=(4,), epochs=1, random_state=0).fit(x.numpy()))
    >>> coder.encode(x).shape, coder.decode(torch.zeros(3, 2)).shape
    (torch.Size([20, 2]), torch.Size([3, 6]))
    """

    def __init__(self, estimator: Any) -> None:
        module = getattr(estimator, "module_", None)
        if not isinstance(module, Coder):
            raise InvalidArgumentError(
                f"the model must have encode and decode. Got {type(estimator).__name__}, which has not both. "
                "Use a VAE, an Autoencoder, an RBM or a DeepBeliefNetwork, for example."
            )
        self.estimator = estimator
        self.module: Any = module
        columns = getattr(estimator, "_columns", Columns("as given"))
        self.columns: Columns = columns()[0] if callable(columns) else columns  # a CycleGAN has those of both sides

    @torch.no_grad()
    def encode(self, x: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """The codes of cases: (n, n_features) -> (n, k)."""
        rows = torch.as_tensor(np.asarray(self.columns.inward(x.cpu().numpy()))).to(x.dtype)
        return self._call("encode", rows, condition)

    @torch.no_grad()
    def decode(self, z: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """The means of the data given codes: (n, k) -> (n, n_features)."""
        return torch.as_tensor(self.columns.outward(self._call("decode", z, condition).numpy()))

    def condition_rows(self, y: Any, n: int) -> Tensor | None:
        """The condition of `n` cases as rows, from one label or vector, or one for each; None where there is none."""
        find = getattr(self.estimator, "_condition_of", None)
        rows = None if find is None else find(y, n)
        return None if rows is None else torch.as_tensor(rows)

    def _call(self, name: str, rows: Tensor, condition: Tensor | None) -> Tensor:
        like = next(iter(self.module.parameters()))
        given = {} if condition is None else {"condition": condition.to(like)}
        found: Tensor = getattr(self.module, name)(rows.to(like), **given)
        return found.to(torch.device("cpu"), rows.dtype)
