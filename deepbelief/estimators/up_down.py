"""Fine-tuning by up-down with an estimator's settings: the generative model itself learns on, labelled or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepbelief.belief.dbn import DBN
from deepbelief.belief.stack import BeliefStack
from deepbelief.belief.untied import UntiedDBN
from deepbelief.belief.up_down import UpDownLearning, checked_steps
from deepbelief.errors import check, check_choice, check_count, check_range
from deepbelief.estimators.effort import tuning_passes
from deepbelief.estimators.learning import layer_sizes, most_epochs, trainer_options
from deepbelief.protocols import BatchSource
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.schedules import SCHEDULES, make_schedule
from deepbelief.training.trainer import Trainer

METHODS = ("backpropagation", "up_down")


def tunes_up_down(estimator: Any) -> bool:
    """Whether the estimator asks for up-down, which not all estimators can."""
    return getattr(estimator, "fine_tuning", METHODS[0]) == "up_down" and estimator.fine_tune_epochs != 0


def has_bound(estimator: Any) -> bool:
    """Whether what classifies is a generative model still: up-down leaves one, back-propagation does not.

    A fitted module says so itself; before that the settings do.
    """
    module = getattr(estimator, "module_", None)
    if module is not None:
        return isinstance(module, BeliefStack)
    pretrained = most_epochs(estimator.pretrain_epochs) > 0
    return pretrained and (tunes_up_down(estimator) or estimator.fine_tune_epochs == 0)


def check_fine_tuning(estimator: Any) -> None:
    """Refuse what up-down cannot do, before any work starts."""
    check_choice("fine_tuning", estimator.fine_tuning, METHODS)
    if not tunes_up_down(estimator):
        return
    checked_steps(estimator.up_down_steps)
    check_range("discriminative", estimator.discriminative, low=0)
    check(
        estimator.label_in_top and most_epochs(estimator.pretrain_epochs) > 0,
        'label_in_top must be True and pretrain_epochs above 0 for fine_tuning="up_down". '
        f"Got label_in_top={estimator.label_in_top}, pretrain_epochs={estimator.pretrain_epochs}.",
    )
    check(
        not (estimator.early_stopping or estimator.dropout or estimator.input_dropout),
        'early_stopping and dropout belong to fine_tuning="backpropagation". Got them with "up_down". Leave them out.',
    )
    check(
        not getattr(estimator, "virtual_adversarial", 0.0),
        'virtual_adversarial must be 0 with fine_tuning="up_down", which learns from all cases as it is. '
        f"Got virtual_adversarial={getattr(estimator, 'virtual_adversarial', 0.0)}. Leave it out.",
    )


def check_unlabelled_tuning(estimator: Any) -> None:
    """Refuse settings of up-down without labels that cannot be, before any layer learns."""
    check_count("fine_tune_epochs", estimator.fine_tune_epochs, low=0)
    if not estimator.fine_tune_epochs:
        return
    checked_steps(estimator.up_down_steps)
    check_range("fine_tune_learning_rate", estimator.fine_tune_learning_rate, low=0)
    check_choice("fine_tune_schedule", estimator.fine_tune_schedule, SCHEDULES)
    n = len(layer_sizes(estimator.hidden_layer_sizes))
    check(n >= 2, f"hidden_layer_sizes must name at least 2 layers for up-down. Got {n}. Use fine_tune_epochs=0.")


def tune_up_down(
    estimator: Any, dbn: DBN, source: BatchSource, *, seed: int, folder: Path | None, resume: bool
) -> tuple[UntiedDBN, list[dict[str, Any]]]:
    """The network that up-down makes of `dbn`, and the history of its learning."""
    net = UntiedDBN.from_dbn(dbn)
    grey = estimator.binarization == "none" and dbn.visible.kind == "bernoulli"
    procedure = UpDownLearning(
        net,
        k=estimator.up_down_steps,
        learning_rate=estimator.fine_tune_learning_rate,
        schedule=make_schedule(estimator.fine_tune_schedule, 1.0),
        momentum=estimator.momentum,
        l2=estimator.l2,
        centred=estimator.centred,
        discriminative=getattr(estimator, "discriminative", 0.0),  # of those that learn labels
        adversarial=getattr(estimator, "adversarial", 0.0),
        mean_dreams=grey,
    )
    options = {"seed": seed, "checkpoint_dir": folder, "averaging": estimator.averaging}
    epochs = estimator.fine_tune_epochs
    if epochs is None:
        epochs = tuning_passes(source.n_cases, estimator.batch_size)
    trainer = Trainer(epochs=epochs, **options, **trainer_options(estimator, net))
    saved = folder if resume and folder is not None and (folder / LATEST).exists() else None
    history = trainer.fit(procedure, source, resume_from=saved).history
    return net, history
