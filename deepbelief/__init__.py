"""deepbelief: deep belief networks and the generative family around them.

The names that people use most are here: ``from deepbelief import DeepBeliefNetwork``. Each is imported when it is first
asked for, so that ``import deepbelief`` itself costs nothing. Models, kernels and procedures are imported from their
files (``from deepbelief.energy.rbm import RBM``); the names here are the scikit-learn estimators.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Autoencoder": "deepbelief.estimators.autoencoder",
    "AnomalyDetector": "deepbelief.estimators.anomaly",
    "BernoulliRBM": "deepbelief.estimators.bernoulli_rbm",
    "ClassificationRBM": "deepbelief.estimators.classification_rbm",
    "ConvolutionalBeliefNetwork": "deepbelief.estimators.convolutional",
    "ConditionalRBM": "deepbelief.estimators.conditional_rbm",
    "BoltzmannMachine": "deepbelief.estimators.boltzmann",
    "DeepBeliefClassifier": "deepbelief.estimators.classifier",
    "DeepBeliefNetwork": "deepbelief.estimators.network",
    "DeepBeliefRegressor": "deepbelief.estimators.regressor",
    "DeepBoltzmannClassifier": "deepbelief.estimators.boltzmann_classifier",
    "DeepBoltzmannMachine": "deepbelief.estimators.boltzmann_network",
    "CycleGAN": "deepbelief.estimators.cycle_gan",
    "GenerativePipeline": "deepbelief.estimators.pipeline",
    "GAN": "deepbelief.estimators.gan",
    "RBM": "deepbelief.estimators.rbm",
    "RBMVAE": "deepbelief.estimators.rbm_vae",
    "RatingsRBM": "deepbelief.estimators.ratings_rbm",
    "ReplicatedSoftmax": "deepbelief.estimators.replicated_softmax",
    "SeriesAnomalyDetector": "deepbelief.estimators.anomaly_series",
    "VAE": "deepbelief.estimators.vae",
    "VAEStack": "deepbelief.estimators.vae_stack",
    "load_counts": "deepbelief.data.text_sets",
    "load_estimator": "deepbelief.estimators.storage",
    "load_model": "deepbelief.storage",
    "load_set": "deepbelief.data.sets",
    "save_model": "deepbelief.storage",
}

__all__ = [
    "GAN",
    "RBM",
    "RBMVAE",
    "VAE",
    "AnomalyDetector",
    "Autoencoder",
    "BernoulliRBM",
    "BoltzmannMachine",
    "ClassificationRBM",
    "ConditionalRBM",
    "ConvolutionalBeliefNetwork",
    "CycleGAN",
    "DeepBeliefClassifier",
    "DeepBeliefNetwork",
    "DeepBeliefRegressor",
    "DeepBoltzmannClassifier",
    "DeepBoltzmannMachine",
    "GenerativePipeline",
    "RatingsRBM",
    "ReplicatedSoftmax",
    "SeriesAnomalyDetector",
    "VAEStack",
    "__version__",
    "load_counts",
    "load_estimator",
    "load_model",
    "load_set",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deepbelief' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
