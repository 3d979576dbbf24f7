"""The small classifiers whose last hidden layer gives the features for distances between samples and data.

Nothing is downloaded: each is trained here on the data's own labels, or where there are none on the clusters of
k-means. A distance on such features depends on the network, so every number names it and the hash of its weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbelief.data.source import make_source
from deepbelief.errors import InvalidDataError, check, check_count
from deepbelief.evaluation.measured import check_same_length, seed_from, to_numpy
from deepbelief.networks.convolutional import ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.rng import make_generator
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer

N_CLUSTERS, MOST_CLUSTERED, FEWEST_SEEDS = 10, 5000, 3


class FeatureNetwork(nn.Module):
    """A classifier of rows: strided convolutions for pictures, one hidden layer for tables, then `n_features` units.

    `shape` is (channels, height, width) for pictures, None for tables of `n_inputs` columns.

    >>> net = FeatureNetwork(64, 10, shape=(1, 8, 8), n_features=16, generator=torch.Generator().manual_seed(0))
    >>> net.features(torch.zeros(5, 64)).shape, net(torch.zeros(5, 64)).shape, net.name
    (torch.Size([5, 16]), torch.Size([5, 10]), 'conv 16-32-16')
    """

    def __init__(
        self,
        n_inputs: int,
        n_classes: int,
        *,
        shape: Sequence[int] | None = None,
        channels: Sequence[int] = (16, 32),
        n_features: int = 32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count("n_classes", n_classes, low=2)
        check_count("n_features", n_features, low=1)
        self.n_features = n_features
        self.body: nn.Module
        if shape is None:
            self.body = DenseNetwork((n_inputs, 64), activation="relu", output=n_features, generator=generator)
            widths: list[int] = [64, n_features]
        else:
            check(
                int(np.prod(shape)) == n_inputs,
                f"shape must have the {n_inputs} entries of a row. Got shape={tuple(shape)}.",
            )
            self.body = ConvolutionalEncoder(shape, n_features, channels=channels, generator=generator)
            widths = [*channels, n_features]
        self.head = DenseNetwork((n_features,), output=n_classes, generator=generator)
        self.name = f"{'dense' if shape is None else 'conv'} {'-'.join(map(str, widths))}"

    def forward(self, x: Tensor) -> Tensor:
        """(cases, inputs) to log-odds (cases, classes)."""
        return self.head(self.body(x).relu())

    @torch.no_grad()
    def features(self, x: Tensor, *, chunk: int = 2000) -> Tensor:
        """The activations of the last hidden layer in float64: (cases, inputs) -> (cases, n_features)."""
        first = next(self.parameters())
        return torch.cat([self.body(rows.to(first)).relu().double().cpu() for rows in x.split(chunk)])

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits of the SHA-256 of all weights: two numbers compare only if these agree."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:8]


def train_feature_network(
    x: Tensor,
    y: Any,
    *,
    seed: int,
    shape: Sequence[int] | None = None,
    epochs: int = 5,
    n_features: int = 32,
    learning_rate: float = 2e-3,
    max_steps: int | None = None,
) -> FeatureNetwork:
    """A classifier of the rows `x` into the classes `y` (whole numbers from 0), trained by Adam from `seed`."""
    check_same_length(x, y, "x", "y")
    classes = torch.as_tensor(to_numpy(y)).long()
    n_classes = int(classes.max()) + 1
    if int(classes.min()) < 0 or n_classes < 2:
        raise InvalidDataError(
            f"y must hold at least 2 classes, numbered from 0. Got {int(classes.min())} to {n_classes - 1}."
        )
    net = FeatureNetwork(x.shape[1], n_classes, shape=shape, n_features=n_features, generator=make_generator(seed))
    source = make_source(x.float(), classes, batch_size=min(100, len(x)), seed=seed)
    trainer = Trainer(epochs=epochs, max_steps=max_steps, seed=seed, progress=False, device="cpu")
    trainer.fit(SupervisedProcedure(net, learning_rate=learning_rate, schedule="linear"), source)
    return net.eval()


def feature_networks(
    train: Tensor,
    y: Any | None,
    *,
    generator: torch.Generator,
    shape: Sequence[int] | None = None,
    n_networks: int = FEWEST_SEEDS,
    **options: Any,
) -> list[FeatureNetwork]:
    """`n_networks` classifiers that differ in their seeds, on labels `y` or, without any, on k-means' clusters."""
    check_count("n_networks", n_networks, low=1)
    labels = y if y is not None else cluster_labels(train, generator=generator)
    seeds = [seed_from(generator) for _ in range(n_networks)]
    return [train_feature_network(train, labels, seed=seed, shape=shape, **options) for seed in seeds]


def cluster_labels(x: Tensor, *, generator: torch.Generator, n_clusters: int = N_CLUSTERS) -> Tensor:
    """The cluster of each row by k-means, as a class where there are no labels: (cases,)."""
    from sklearn.cluster import KMeans

    rows = to_numpy(x).astype(np.float64)
    means = KMeans(min(n_clusters, len(rows)), n_init=2, random_state=seed_from(generator))
    return torch.from_numpy(means.fit(rows[:MOST_CLUSTERED]).predict(rows).astype(np.int64))
