"""DBN 784-500-500-2000-10 on MNIST with the labels in its top RBM: greedy learning, then up-down; nothing else."""

from __future__ import annotations

from deepbelief.belief.dbn import DBN, with_labels_in_top
from deepbelief.belief.greedy import LayerSource
from deepbelief.belief.untied import UntiedDBN
from deepbelief.belief.up_down import UpDownLearning
from deepbelief.data.sets import DataSet
from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.protocols import BatchSource, Procedure
from deepbelief.recipes.pretrained import error_rate, pretrained
from deepbelief.recipes.recipe import Options, Recipe, main
from deepbelief.storage import save_model
from deepbelief.training.schedules import make_schedule
from deepbelief.training.trainer import Trainer
from deepbelief.types import Result

LABELLED_TOP = LearningSettings(
    learning="cd", k=1, epochs=8, learning_rate=0.1, schedule="linear", momentum=0.5, l2=2e-4
)
EPOCHS, RATE, STEPS, MOMENTUM, DECAY, AVERAGING = 60, 0.1, (1, 2, 3), 0.5, 2e-4, 0.999


def reproduce(options: Options) -> list[Result]:
    """Teach the pre-trained stack the labels, then tune all of it by up-down; the test errors after and before."""
    train, test = options.load("train"), options.load("test")
    source = make_source(train.x, train.y, scale=train.scale, batch_size=100, seed=options.seed)
    dbn = with_labels_in_top(pretrained(options), 10)
    top = LayerSource(source, dbn, len(dbn.layers) - 1)
    learn(make_procedure(dbn.top, LABELLED_TOP), top, options, "top", LABELLED_TOP.epochs)
    net = UntiedDBN.from_dbn(dbn)
    learn(procedure(net), source, options, "up-down", EPOCHS, averaging=AVERAGING)
    save_model(net, options.folder("up_down_error") / "model")
    return [result("after up-down", net, test), result("before up-down", dbn, test)]


def procedure(net: UntiedDBN) -> UpDownLearning:
    """The up-down rule with the settings of this recipe."""
    settings = {"k": STEPS, "learning_rate": RATE, "momentum": MOMENTUM, "l2": DECAY}
    return UpDownLearning(net, schedule=make_schedule("linear", 1.0), mean_dreams=True, **settings)  # type: ignore[arg-type]


def learn(
    rule: Procedure, source: BatchSource, options: Options, part: str, epochs: int, averaging: float | None = None
) -> None:
    """Train one part of the recipe; resumable."""
    folder = options.folder("up_down_error") / part
    trainer = Trainer(
        epochs=options.epochs(epochs),
        seed=options.seed,
        averaging=averaging,
        checkpoint_dir=folder,
        **options.trainer(),  # type: ignore[arg-type]
    )
    trainer.fit(rule, source, resume_from=folder if options.resume and folder.exists() else None)


def result(when: str, net: DBN | UntiedDBN, test: DataSet) -> Result:
    """The test error by the top's free energies after one deterministic pass up."""
    error = error_rate(net.classify, test)
    stderr = 100 * (error * (1 - error) / len(test)) ** 0.5
    name = "DBN " + "-".join(str(layer.hidden.size) for layer in net.layers)
    return Result(f"test error {when}", 100 * error, "measured", stderr, "%", f"{test.name} test", name)


RECIPE = Recipe(
    name="up_down_error",
    title="DBN 784-500-500-2000-10 with labels in its top RBM, test error on MNIST after up-down",
    paper="Hinton, Osindero & Teh 2006, A fast learning algorithm for deep belief nets",
    published="1.25 % after 359 epochs of up-down",
    setting="60,000 labelled images, no distortions, no back-propagation; free energies of the ten labels at the top",
    reached="not run whole",
    time="not measured",
    reproduce=reproduce,
)

if __name__ == "__main__":
    main(RECIPE)
