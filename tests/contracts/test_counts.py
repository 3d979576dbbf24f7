"""A count that is no whole number gets one sentence, wherever it is given, and before any work starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepbelief.adversarial.cycle_learning import CycleLearning
from deepbelief.adversarial.gan import GAN as GANModule
from deepbelief.adversarial.learning import AdversarialLearning
from deepbelief.autoencoders.autoencoder import Autoencoder as AutoencoderModule
from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.priors import Mixture, VampPrior
from deepbelief.autoencoders.vae import VAE as VAEModule
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.rbm_vae_learning import RBMVAELearning
from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.rbm import RBM as RBMModule
from deepbelief.errors import InvalidArgumentError, check_count
from deepbelief.estimators.autoencoder import Autoencoder
from deepbelief.estimators.cycle_gan import CycleGAN
from deepbelief.estimators.gan import GAN
from deepbelief.estimators.rbm import RBM
from deepbelief.estimators.rbm_vae import RBMVAE
from deepbelief.estimators.vae import VAE
from deepbelief.estimators.vae_stack import VAEStack
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.training.trainer import Trainer
from deepbelief.units.bernoulli import Bernoulli
from tests.contracts import wings
from tests.contracts.counts import Count, check_refusals

X = wings.bits().numpy()
Y = np.arange(len(X)) % 2


def gan(**options: Any) -> GANModule:
    return GANModule(nn.Linear(4, 9), nn.Linear(9, 1), **{"n_latent": 4, **options})


def vae(**options: Any) -> VAEModule:
    return VAEModule(Bernoulli(9), [nn.Linear(9, 4)], [nn.Linear(2, 9)], **{"sizes": [2], **options})


MADE: dict[str, Callable[[], Any]] = {
    "n_latent": lambda: gan(n_latent=2.5),
    "n_codes": lambda: gan(n_codes=2.5),
    "n_classes": lambda: gan(n_classes=2.5),
    "n_critic": lambda: AdversarialLearning(gan(), n_critic=2.5),
    "history": lambda: CycleLearning(wings.there_and_back(), 9, history=2.5),  # type: ignore[arg-type]
    "every size": lambda: vae(sizes=[2.5]),
    "n_condition": lambda: vae(n_condition=2.5),
    "every size ": lambda: dense_vae(Bernoulli(9), [2.5], hidden=[[5]]),  # type: ignore[list-item]
    " every size": lambda: AutoencoderModule.dense(Bernoulli(9), [2.5]),  # type: ignore[list-item]
    "n_components": lambda: Mixture(2, 2.5),  # type: ignore[arg-type]
    "k": lambda: ELBO(vae(), k=2.5),  # type: ignore[arg-type]
    "n_codes ": lambda: make_rbm_vae(Bernoulli(9), n_codes=2.5),  # type: ignore[arg-type]
    "k ": lambda: RBMVAELearning(make_rbm_vae(Bernoulli(9), (3, 2), hidden=[5]), k=2.5),  # type: ignore[arg-type]
    "n_chains": lambda: RBMVAELearning(make_rbm_vae(Bernoulli(9)), n_chains=2.5),  # type: ignore[arg-type]
    "size": lambda: Bernoulli(2.5),  # type: ignore[arg-type]
    " size": lambda: RBMModule(5, 2.5),  # type: ignore[arg-type]
    "n_chains ": lambda: LearningSettings(n_chains=2.5),  # type: ignore[arg-type]
    " every size ": lambda: DenseNetwork((9, 2.5)),  # type: ignore[arg-type]
    "n_outputs": lambda: ConvolutionalEncoder(wings.SHAPE, 2.5),  # type: ignore[arg-type]
    "n_inputs": lambda: ConvolutionalDecoder(2.5, wings.SHAPE),  # type: ignore[arg-type]
    "batch_size": lambda: ArraySource(X, batch_size=2.5),  # type: ignore[arg-type]
    "epochs": lambda: Trainer(epochs=2.5),  # type: ignore[arg-type]
    "max_steps": lambda: Trainer(max_steps=2.5),  # type: ignore[arg-type]
    "checkpoint_every": lambda: Trainer(epochs=1, checkpoint_every=("step", 2.5)),  # type: ignore[arg-type]
}
FITTED: dict[str, list[tuple[Any, Any]]] = {
    "batch_size": [(kind(batch_size=2.5), Y) for kind in (Autoencoder, VAE, RBMVAE, VAEStack, GAN, CycleGAN, RBM)],
    "epochs": [(kind(epochs=2.5), Y) for kind in (Autoencoder, VAE, RBMVAE, GAN, CycleGAN, RBM)],
    "n_components": [(kind(n_components=2.5), Y) for kind in (Autoencoder, VAE, VAEStack, GAN, RBM)],
    "n_codes": [(kind(n_codes=2.5), Y) for kind in (RBMVAE, GAN)],
    "k": [(kind(k=2.5), Y) for kind in (VAE, RBMVAE)],
    "n_importance_samples": [(kind(n_importance_samples=2.5), Y) for kind in (VAE, RBMVAE, VAEStack)],
    "n_critic": [(GAN(n_critic=2.5), Y)],
    "top_k": [(VAEStack(top_k=2.5), Y)],
    "top_epochs": [(VAEStack(top_epochs=2.5), Y)],
    "history": [(CycleGAN(history=2.5), Y)],
}

ASKED: dict[str, Count] = {
    "GAN.sample": ("n", 1, lambda n: gan().sample(n)),
    "GAN.latent": ("n", 1, lambda n: gan().latent(n)),
    "GAN.draw_labels": ("n", 1, lambda n: gan(n_classes=2).draw_labels(n)),
    "GAN.interpolate": ("n", 2, lambda n: gan().interpolate(torch.ones(4), -torch.ones(4), n)),
    "VAE.sample": ("n", 1, lambda n: vae().sample(n)),
    "VAE.infer": ("n", 1, lambda n: vae().infer(wings.bits(), n)),
    "VAE.elbo": ("n_samples", 1, lambda n: vae().elbo(wings.bits(), n_samples=n)),
    "VAE.log_likelihood": ("n_samples", 1, lambda n: vae().log_likelihood(wings.bits(), n_samples=n)),
    "VAE.complete": ("n_steps", 1, lambda n: vae().complete(wings.bits(), wings.bits() > 0, n_steps=n)),
    "VampPrior": ("n_beside", 0, lambda n: VampPrior(2, 3, 4, n_beside=n)),
}


@pytest.mark.parametrize("place", ASKED)
def test_what_is_asked_for(place: str) -> None:
    check_refusals(*ASKED[place])


@pytest.mark.parametrize("name", MADE)
def test_what_is_made(name: str) -> None:
    wanted = name.strip()
    given = "" if " " in wanted else f"{wanted}="
    with pytest.raises(
        InvalidArgumentError, match=rf"^{wanted}.* must be a whole number\. Got {given}2\.5\. Use {given}2\.$"
    ):
        MADE[name]()


@pytest.mark.parametrize(("name", "estimator", "y"), [(n, *fit) for n, fits in FITTED.items() for fit in fits])
def test_what_is_fitted(name: str, estimator: Any, y: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{name} must be a whole number\. Got {name}=2\.5\."):
        estimator.fit(X, y)


@pytest.mark.parametrize("kind", [Autoencoder, VAE, RBMVAE, VAEStack, GAN, CycleGAN])
def test_layers_of_an_estimator(kind: Any) -> None:
    for sizes in ((5, 2.5), 2.5):
        with pytest.raises(InvalidArgumentError, match=r"must be (integers|a whole number)"):
            kind(hidden_layer_sizes=sizes).fit(X, Y)


def test_counts_of_every_integer_type_pass() -> None:
    for value in (3, np.int64(3), np.uint8(3)):
        check_count("n", value, low=1, high=3)
    assert RBMModule(np.int64(3), 2).visible.size == 3  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^n must be a whole number\. Got n='3'\.$"):
        check_count("n", "3")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^n must be a whole number\. Got n=nan\.$"):
        check_count("n", float("nan"))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^n must be at least 1\. Got n=0\. Take more\.$"):
        check_count("n", 0, low=1, remedy="Take more.")
