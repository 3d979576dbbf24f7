"""The other libraries' updates of an RBM, as their own training loops make them; a peer that is absent is left out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

Rows = list[Tensor]
Update = Callable[[Tensor], object]
RATE = 0.05


def installed(name: str) -> bool:
    """Whether a peer can be imported here."""
    return importlib.util.find_spec(name) is not None


def scikit_learn(n_hidden: int, first: Tensor, dtype: Any, rate: float = RATE) -> tuple[BernoulliRBM, Update]:
    """PCD-1; its weights take the type of what `fit` sees first, and keep it in `partial_fit`."""
    model = BernoulliRBM(n_hidden, learning_rate=rate, batch_size=len(first), n_iter=1, random_state=0)
    model.fit(first.numpy().astype(dtype))
    return model, lambda x: model.partial_fit(x.numpy().astype(dtype, copy=False))


def rbms(n_hidden: int, first: Tensor, rate: float = RATE, start: Tensor | None = None) -> tuple[Any, Update]:
    """PCD-1 of rbms: its `fit_batch_pcd` and the step of SGD, without the file that its loop writes at every update.

    It centres the gradient and divides it by its norm, so its rate is on another scale. Biases start at `start`'s.
    """
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.bernoulli_bernoulli.implement import _init_parameters
    from rbms.training.pcd import fit_batch_pcd

    b, c, w = _init_parameters(n_hidden, first if start is None else start, torch.device("cpu"), torch.float32)
    model = BBRBM(w, b, c)
    model.init_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, maximize=True)
    chains, weights = model.init_chains(len(first)), torch.ones(len(first))

    @torch.no_grad()
    def update(x: Tensor) -> None:
        nonlocal chains
        optimizer.zero_grad(set_to_none=False)
        chains, _ = fit_batch_pcd((x, weights[: len(x)]), chains, model, gibbs_steps=1, beta=1.0)
        optimizer.step()

    return model, update


def learnergy(n_visible: int, n_hidden: int, data: Tensor, batch: int, rate: float = RATE) -> Callable[[], object]:
    """CD-1 of learnergy: one pass of its `fit` over the rows, with the pseudo-likelihood that it always computes."""
    import logging

    logging.disable(logging.INFO)
    from learnergy.models.bernoulli import RBM
    from torch.utils.data import TensorDataset

    model = RBM(n_visible=n_visible, n_hidden=n_hidden, steps=1, learning_rate=rate, use_gpu=False)
    rows = TensorDataset(data, torch.zeros(len(data)))
    return lambda: model.fit(rows, batch_size=batch, epochs=1)


def peers(shape: tuple[int, int, int], data: Rows) -> dict[str, Callable[[], object]]:
    """One turn over `data` for each peer that is installed."""
    n_visible, n_hidden, batch = shape

    def each(update: Update) -> Callable[[], object]:
        return lambda: [update(x) for x in data]

    found: dict[str, Callable[[], object]] = {
        "scikit-learn float64, PCD-1": each(scikit_learn(n_hidden, data[0], np.float64)[1]),
        "scikit-learn float32, PCD-1": each(scikit_learn(n_hidden, data[0], np.float32)[1]),
    }
    if installed("rbms"):
        found["rbms, PCD-1"] = each(rbms(n_hidden, data[0])[1])
    if installed("learnergy"):
        found["learnergy, CD-1"] = learnergy(n_visible, n_hidden, torch.cat(data), batch)
    return found
