"""What an `Autoencoder`'s fit hands over: the checks, the network (new, or a DBN unrolled), and back-propagation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.corruption import CORRUPTIONS, Corruption, make_corruption
from deepbelief.autoencoders.learning import AutoencoderLearning
from deepbelief.autoencoders.penalties import Contraction, L1Codes, Penalty, RateKL
from deepbelief.belief.dbn import DBN
from deepbelief.belief.deep_autoencoder import unroll_autoencoder
from deepbelief.belief.greedy import start_layer, train_greedily
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.errors import check, check_choice, check_count
from deepbelief.estimators.arrays import dense_chunks
from deepbelief.estimators.columns import Columns
from deepbelief.estimators.learning import (
    binarizer_of,
    check_basics,
    history_of,
    layer_sizes,
    one_each,
    parameter_type,
    source_of,
    trainer_options,
)
from deepbelief.protocols import BatchSource
from deepbelief.rng import make_generator
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.processes import connect
from deepbelief.training.trainer import Trainer
from deepbelief.units.catalog import make_units

ACTIVATIONS, CODES = ("auto", "relu", "sigmoid", "tanh"), ("identity", "sigmoid", "relu", "tanh")
UNITS = {"auto": "bernoulli", "sigmoid": "bernoulli", "tanh": "spin", "identity": "gaussian"}  # whose mean it is
RATE_FACTORS = {
    "gaussian": 0.01,  # Hinton & Salakhutdinov 2006 took 0.1 for binary units and 0.001 for the linear code
    "spin": 0.25,  # (1 + s) / 2 is a bit: the same step of the same machine, by half the weights and twice the slope
}
START_STREAM = 107
Rows = list[dict[str, Any]]


def check_autoencoder(estimator: Any) -> None:
    """Check all arguments before any work starts."""
    check_basics(estimator)
    check_choice("network", estimator.network, ["dense", "convolutional"])
    check_choice("activation", estimator.activation, ACTIVATIONS)
    check_choice("code", estimator.code, CODES)
    check_choice("corruption", estimator.corruption, CORRUPTIONS)
    check_count("n_components", estimator.n_components, low=1)
    check_count("epochs", estimator.epochs, low=0)
    _hidden_sizes(estimator)
    convolutional = estimator.network == "convolutional"
    check(
        not (estimator.tied and convolutional),
        "tied must be False for convolutional networks. Got tied=True. Use network='dense'.",
    )
    if estimator.sparsity_target is not None:
        check(
            estimator.code == "sigmoid",
            f"code must be 'sigmoid' with a sparsity_target. Got code={estimator.code!r}. Use code_l1 for other codes.",
        )
    make_corruption(estimator.corruption, estimator.corruption_level)
    _procedure(estimator, Autoencoder.dense(make_units("bernoulli", 1), [1]), None)
    if estimator.pretrain is not None:
        _check_pretraining(estimator, convolutional)


def _check_pretraining(estimator: Any, convolutional: bool) -> None:
    check_choice("pretrain", estimator.pretrain, ["dbn"])
    for name, rule, found in (
        ("network must be 'dense'", not convolutional, estimator.network),
        ("tied must be False", not estimator.tied, estimator.tied),
        ("code must be 'identity', 'sigmoid' or 'tanh'", estimator.code in UNITS, estimator.code),
        ("activation must be 'auto', 'sigmoid' or 'tanh'", estimator.activation in UNITS, estimator.activation),
    ):
        check(rule, f"{name} to be pre-trained as a DBN. Got {found!r}. Use pretrain=None for other networks.")
    _plans(estimator)


def _hidden_sizes(estimator: Any) -> list[int]:
    sizes = estimator.hidden_layer_sizes
    return [] if isinstance(sizes, Sequence) and not sizes else layer_sizes(sizes)


def learn(
    estimator: Any,
    x: Any,
    weight: Any,
    columns: Columns,
    *,
    shape: tuple[int, ...],
    folder: Path | None,
    resume: bool,
    seed: int,
) -> tuple[nn.Module, Rows, Rows]:
    """The learned network, and the histories of back-propagation and of pre-training."""
    options: dict[str, Any] = {"seed": seed, "binarizer": binarizer_of(estimator, seed)}
    source = source_of(estimator, columns, x, weight=weight, **options)
    pretrained: Rows = []
    net: nn.Module
    if estimator.pretrain == "dbn":
        below = None if folder is None else folder / "pretraining"
        net, pretrained = _unrolled(estimator, x, columns, source, folder=below, resume=resume, seed=seed)
    else:
        net = _new_network(estimator, x, columns, shape, seed)
        start_layer(net, source, make_generator(seed, _device(estimator), stream=START_STREAM))
    beside = None if folder is None else folder / "back-propagation"
    trainer = Trainer(
        epochs=estimator.epochs,
        seed=seed,
        checkpoint_dir=beside,
        averaging=estimator.averaging,
        **trainer_options(estimator, net),
    )
    saved = beside if resume and beside is not None and (beside / LATEST).exists() else None
    ends = _ends(x, columns) if estimator.corruption == "salt_and_pepper" else (0.0, 1.0)
    corruption = make_corruption(estimator.corruption, estimator.corruption_level, low=ends[0], high=ends[1])
    record = trainer.fit(_procedure(estimator, net, corruption), source, resume_from=saved)
    return net, record.history, pretrained


def _device(estimator: Any) -> Any:
    return connect(estimator.device, devices=1).device


def _new_network(estimator: Any, x: Any, columns: Columns, shape: tuple[int, ...], seed: int) -> Autoencoder:
    visible = columns.units(x, estimator.n_values)
    activation = "relu" if estimator.activation == "auto" else estimator.activation
    same: dict[str, Any] = {"activation": activation, "code": estimator.code}
    same |= {"learned_scale": estimator.learned_scale, "generator": make_generator(seed)}
    if estimator.network == "convolutional":
        picture = shape if len(shape) == 3 else (1, *shape)
        blocks = {"channels": tuple(estimator.channels), "normalization": estimator.normalization}
        net = Autoencoder.convolutional(visible, picture, estimator.n_components, **blocks, **same)
    else:
        sizes = [*_hidden_sizes(estimator), estimator.n_components]
        net = Autoencoder.dense(visible, sizes, tied=estimator.tied, **same)
    return net.to(_device(estimator), parameter_type(estimator))


def _unrolled(
    estimator: Any, x: Any, columns: Columns, source: BatchSource, *, folder: Path | None, resume: bool, seed: int
) -> tuple[nn.Module, Rows]:
    """A stack of RBMs, learned layer by layer and unrolled."""
    sizes = _hidden_sizes(estimator)
    layers = [
        make_units(kind, size) for kind, size in zip(_kinds(estimator), [*sizes, estimator.n_components], strict=True)
    ]
    dbn = DBN.of_units([columns.units(x, estimator.n_values), *layers], generator=make_generator(seed))
    dbn = dbn.to(parameter_type(estimator))
    options = trainer_options(estimator, dbn)
    plan: dict[str, Any] = {"seed": seed, "checkpoint_dir": folder, "resume": resume}
    reports = train_greedily(dbn, source, _plans(estimator, columns.kind), trainer_options=options, **plan)
    return unroll_autoencoder(dbn), history_of(reports)


def _kinds(estimator: Any) -> list[str]:
    """The hidden units of each RBM: those whose mean is the activation, and at the top what squashes the code."""
    return [UNITS[estimator.activation]] * len(_hidden_sizes(estimator)) + [UNITS[estimator.code]]


def _plans(estimator: Any, visible: str = "bernoulli") -> list[LearningSettings]:
    """How each RBM learns: by CD-1 with momentum, as in the paper; one rate for all is that of bits over bits."""
    n = len(_hidden_sizes(estimator)) + 1
    epochs, rates = (
        one_each(f"pretrain_{w}", getattr(estimator, f"pretrain_{w}"), n) for w in ("epochs", "learning_rate")
    )
    if np.ndim(estimator.pretrain_learning_rate) == 0:
        kinds = _kinds(estimator)
        below = [visible, *kinds[:-1]]
        factors = [RATE_FACTORS.get(k, 1.0) * RATE_FACTORS.get(b, 1.0) for k, b in zip(kinds, below, strict=True)]
        rates = [rate * factor for rate, factor in zip(rates, factors, strict=True)]
    shared: dict[str, Any] = {"learning": "cd", "k": 1, "schedule": "linear", "momentum": 0.5, "l2": 2e-4}
    return [LearningSettings(epochs=e, learning_rate=rate, **shared) for e, rate in zip(epochs, rates, strict=True)]


def _procedure(estimator: Any, net: nn.Module, corruption: Corruption | None) -> AutoencoderLearning:
    penalties: list[Penalty] = []
    if estimator.code_l1:
        penalties.append(L1Codes(estimator.code_l1))
    if estimator.sparsity_target is not None:
        penalties.append(RateKL(estimator.sparsity_cost, estimator.sparsity_target))
    if estimator.contraction:
        penalties.append(Contraction(estimator.contraction))
    return AutoencoderLearning(
        net,
        corruption=corruption,
        penalties=penalties,
        loss=estimator.loss,
        optimizer=estimator.optimizer,
        learning_rate=estimator.learning_rate,
        schedule=estimator.schedule,
        weight_decay=estimator.weight_decay,
    )


def _ends(x: Any, columns: Columns) -> tuple[float, float]:
    """The smallest and the largest value that the network sees."""
    rows = [columns.inward(chunk) for chunk in dense_chunks(x)]
    return float(min(r.min() for r in rows)), float(max(r.max() for r in rows))
