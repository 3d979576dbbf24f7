"""The stack that the classification recipes share: 784-500-500-2000, each RBM by CD-1, no labels seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import train_greedily
from deepbelief.data.sets import DataSet
from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.errors import StorageError
from deepbelief.protocols import BatchSource
from deepbelief.recipes.recipe import Options
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer
from deepbelief.types import Result

Model = TypeVar("Model", bound=nn.Module)

SIZES = [500, 500, 2000]
PRETRAINING = LearningSettings(
    learning="cd", k=1, epochs=15, learning_rate=0.1, schedule="linear", momentum=0.5, l2=2e-4
)
# Of the recipes that teach all labels; chosen on 10,000 training images that did not learn (docs/developer/log.md).
DROPOUT = {"dropout": 0.3, "input_dropout": 0.1}
TEACHING: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 200,
    "schedule": "cosine",
    "adversarial": 0.1,
    "averaging": 0.999,
}


def pretrained(options: Options) -> DBN:
    """The stack for this seed: read back if a recipe trained it before (into the same --out), else trained now."""
    found = saved(options, "pretrained", DBN)
    if found is not None:
        return found
    folder = options.folder("pretrained")
    data = options.load("train")
    source = make_source(data.x, scale=data.scale, batch_size=100, seed=options.seed)
    sizes = [64, 64] if options.quick else SIZES
    dbn = DBN.of_sizes([source.n_features, *sizes], generator=make_generator(options.seed))
    plan = LearningSettings.from_mapping({**PRETRAINING.to_dict(), "epochs": options.epochs(PRETRAINING.epochs)})
    train_greedily(
        dbn,
        source,
        plan,
        trainer_options=options.trainer(),
        seed=options.seed,
        checkpoint_dir=folder / "checkpoint",
        resume=options.resume,
    )
    save_model(dbn, folder / "model")
    return dbn


def saved(options: Options, part: str, kind: type[Model]) -> Model | None:
    """The model that this part of a recipe left in the folder of this seed, if it is there."""
    model = options.folder(part) / "model"
    if not model.exists():
        return None
    found = load_model(model)
    if not isinstance(found, kind):
        raise StorageError(f"{model} must hold a {kind.__name__}. Got {type(found).__name__}. Choose another --out.")
    return found


def fine_tune(
    net: nn.Module,
    data: DataSet,
    options: Options,
    *,
    name: str,
    epochs: int,
    batch_size: int,
    rows: Tensor | None = None,
    averaging: float | None = None,
    precision: str = "fp32",
    **procedure: Any,
) -> None:
    """Back-propagation of `net` on all labels, or on those of `rows`; resumable."""
    x, y = (data.x, data.y) if rows is None or data.y is None else (data.x[rows], data.y[rows])
    source = make_source(x, y, scale=data.scale, batch_size=batch_size, seed=options.seed)
    rule = SupervisedProcedure(net, **procedure)
    learn(rule, source, options, name=name, epochs=epochs, averaging=averaging, precision=precision)


def learn(
    rule: SupervisedProcedure,
    source: BatchSource,
    options: Options,
    *,
    name: str,
    epochs: int,
    averaging: float | None = None,
    precision: str = "fp32",
) -> None:
    """Train a network by its rule, with checkpoints in the part `name`; resumable."""
    folder = options.folder(name) / "checkpoint"
    trainer = Trainer(
        epochs=options.epochs(epochs),
        seed=options.seed,
        checkpoint_dir=folder,
        checkpoint_every=("epoch", 10),
        averaging=averaging,
        **options.trainer(precision=precision),
    )
    trainer.fit(rule, source, resume_from=folder if options.resume and folder.exists() else None)
    rule.module.eval()


def on_test_images(net: nn.Module, options: Options, name: str) -> Result:
    """The error in percent on the test images, with the binomial error of that."""
    test = options.load("test")
    error = error_rate(net, test)
    stderr = 100 * (error * (1 - error) / len(test)) ** 0.5
    return Result("test error", 100 * error, "measured", stderr, "%", f"{test.name} test", name)


@torch.no_grad()
def error_rate(net: Callable[[Tensor], Tensor], data: DataSet) -> float:
    """The share of wrong answers on a labelled set; `net` scores the classes of each row."""
    assert data.y is not None
    predicted = torch.cat([net(rows).argmax(1) for rows in data.scaled().split(1000)])
    return (predicted != data.y).double().mean().item()
