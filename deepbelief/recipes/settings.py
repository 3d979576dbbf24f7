"""The settings of a whole run, from data to evaluation, as one tree that can be printed, edited and run again.

A model or procedure never sees this tree: `deepbelief.recipes.run` turns it into arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from deepbelief.data.binarize import Binarization
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.watch import QUANTITIES
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, check, check_choice, check_positive, check_range
from deepbelief.files import atomic_write_text
from deepbelief.recipes.strict import check_names, from_tree, to_tree, to_yaml
from deepbelief.training.schedules import SCHEDULES

PARTS = ("data", "model", "fine_tuning", "evaluation")
LEARNING_NOTES = {
    "learning": "pcd (persistent chains), cd, fpcd, pt, ptt or exact; pl, ratio, score or tap (see docs/models/rbm.md)",
    "k": "Gibbs steps per update",
    "n_chains": "persistent chains",
    "chains_start": "base (independent units) or data (for a layer that is good already, such as a tied one)",
    "schedule": "of the learning rate: constant, linear, cosine, exponential or step",
    "optimizer": "sgd or adam",
    "l2": "weight decay",
    "l1": "the same by absolute values, which leaves few weights",
    "centred": "subtract slow-moving means in the gradient",
    "offset_rate": "speed of those means",
    "sparsity_target": "mean activation that hidden units are pulled to; null for none",
    "sparsity_cost": "strength of that pull",
    "group_size": "hidden units of a group of which few are on together; null for none",
    "group_cost": "strength of the groups' penalty",
    "averaging": "decay of a running average of the parameters, such as 0.999; null for none",
    "n_variables": "pl and ratio: variables drawn for each case",
    "fast_rate": "fpcd: rate of the fast weights; null takes learning_rate",
    "n_replicas": "pt: temperatures",
    "swap_acceptance": "ptt: a checkpoint joins the ladder when the model's swaps with the last one fall below this",
    "ladder_every": "ptt: updates between two sweeps of the whole ladder",
    "ahead": "pcd on several processes: chains move while the gradient travels",
    "tap_order": "tap: 2, or 1 for the naive mean field",
}
UnitKind = Literal["bernoulli", "spin", "gaussian", "categorical"]


@dataclass(frozen=True)
class DataSettings:
    """Which cases, and how they come to the model."""

    name: Annotated[str, "a named set (see `deepbelief data`), a file or a folder of images"] = "digits"
    label: Annotated[str | None, "the column or array that holds the labels of a file"] = None
    key: Annotated[str | None, "the array of an .npz that holds the cases"] = None
    target: Annotated[Literal["auto", "class", "value"], "what the labels are: classes, or values to predict"] = "auto"
    split: Annotated[Literal["test", "valid"], "what is held out; valid leaves the test cases alone"] = "test"
    test_fraction: Annotated[float, "the share of a file that is held out"] = 0.2
    preparation: Annotated[
        Literal["none", "standardize", "unit"], "columns: as they are, to mean 0 and variance 1, or to [0, 1]"
    ] = "none"
    binarization: Annotated[Binarization, "none, threshold, fixed, or stochastic (drawn anew for each batch)"] = "none"
    threshold: Annotated[float, "the grey level above which a bit is set"] = 0.5
    inverted: Annotated[bool, "swap 0 and 1"] = False
    max_train: Annotated[int | None, "use at most so many cases to learn from"] = None
    max_test: Annotated[int | None, "use at most so many held-out cases"] = None
    data_dir: Annotated[str | None, "where files of named sets are looked for first"] = None
    download: Annotated[bool, "fetch a named set that is not here"] = True

    def __post_init__(self) -> None:
        check_range("data.threshold", self.threshold, low=0, high=1)
        check(0 < self.test_fraction < 1, f"data.test_fraction must be above 0 and below 1. Got {self.test_fraction}.")
        for name in ("max_train", "max_test"):
            if getattr(self, name) is not None:
                check_range(f"data.{name}", getattr(self, name), low=2)


@dataclass(frozen=True)
class ModelSettings:
    """The kinds and sizes of the layers."""

    kind: Annotated[Literal["dbn", "rbm"], "a deep belief network, or one restricted Boltzmann machine"] = "dbn"
    visible: Annotated[UnitKind, "bernoulli, spin, gaussian or categorical"] = "bernoulli"
    n_values: Annotated[int | None, "the width of a group of categorical visible units"] = None
    hidden: Annotated[UnitKind, "the kind of all hidden layers"] = "bernoulli"
    layers: Annotated[list[int], "hidden units from the bottom to the top"] = field(default_factory=lambda: [100, 100])
    labels_in_top: Annotated[bool, "put the label in the top RBM: draw by class, classify without fine-tuning"] = False
    tied: Annotated[bool, "start each layer as the transpose of the one below (then its bound starts no lower)"] = False

    def __post_init__(self) -> None:
        check(bool(self.layers), "model.layers must name at least 1 layer. Got none.")
        for size in self.layers:
            check_range("model.layers", size, low=1)
        check(
            self.kind == "dbn" or len(self.layers) == 1,
            f"model.layers must be 1 number for an RBM. Got {len(self.layers)}. Use kind: dbn.",
        )
        check(
            self.kind == "dbn" or not self.labels_in_top,
            "model.labels_in_top must be false for an RBM. Got true. Use kind: dbn with 1 layer.",
        )


@dataclass(frozen=True)
class FineTuning:
    """Back-propagation through the unrolled network, on labels."""

    epochs: int = 50
    learning_rate: float = 1e-3
    schedule: Annotated[str, "of the learning rate: constant, linear, cosine, exponential or step"] = "cosine"
    optimizer: Annotated[Literal["adam", "sgd", "lbfgs"], "adam, sgd or lbfgs"] = "adam"
    batch_size: int = 100
    dropout: Annotated[float, "share of hidden units left out at each step"] = 0.0
    input_dropout: Annotated[float, "share of inputs left out at each step"] = 0.0
    weight_decay: float = 0.0
    max_norm: Annotated[float | None, "the largest length of a unit's incoming weights"] = None
    adversarial: Annotated[float, "half of the loss is that of inputs moved by so much, the way that hurts"] = 0.0
    averaging: Annotated[float | None, "decay of a running average of the weights, such as 0.99"] = None
    binarization: Annotated[Binarization, "of the inputs; none gives the network the grey levels"] = "none"
    n_labels: Annotated[int | None, "use only so many labels, drawn evenly from the classes; null takes all"] = None
    early_stopping: Annotated[int | None, "stop after so many epochs without gain on cases put aside"] = None
    validation_fraction: Annotated[float, "the share of the labelled cases put aside for early stopping"] = 0.1
    pretrained: Annotated[bool, "start from the DBN's weights; false starts from random ones, for comparison"] = True

    def __post_init__(self) -> None:
        check_range("fine_tuning.epochs", self.epochs, low=1)
        check_range("fine_tuning.batch_size", self.batch_size, low=1)
        check_choice("fine_tuning.schedule", self.schedule, SCHEDULES)
        check_positive("fine_tuning.learning_rate", self.learning_rate)
        for name in ("dropout", "input_dropout"):
            check_range(f"fine_tuning.{name}", getattr(self, name), low=0, high=1)
        check(0 < self.validation_fraction < 1, "fine_tuning.validation_fraction must be above 0 and below 1.")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured and drawn."""

    log_likelihood: Annotated[bool, "log p of the held-out cases: exact, or by annealing both ways"] = True
    each_layer: Annotated[bool, "the number of every layer's stack, not only the last one's"] = True
    chains: Annotated[int, "annealing runs"] = 100
    betas: Annotated[int, "temperatures of each run; more of them bring the two ends together"] = 1000
    burn_in: Annotated[int, "Gibbs steps before the reverse runs start"] = 500
    bound_samples: Annotated[int, "draws of the hidden layers per case for the variational bound"] = 10
    watch: Annotated[list[str], "while a layer learns"] = field(
        default_factory=lambda: ["reconstruction_error", "pseudo_likelihood", "free_energy_gap"]
    )
    watch_every: Annotated[int, "epochs between two looks; 0 for none"] = 5
    completion_mask: Annotated[Literal["left", "right", "top", "bottom"], "the half that completion is given"] = "left"
    samples: Annotated[int, "drawn cases that are compared with held-out ones; 0 for none"] = 200
    sample_steps: Annotated[int, "Gibbs steps of each draw"] = 1000
    chain_steps: Annotated[int, "Gibbs steps over which chains are judged, their first half unseen; 0 for none"] = 400
    features: Annotated[bool, "what the codes are worth to simple classifiers, beside the raw inputs"] = True
    gallery: Annotated[bool, "filters, samples, completions and the rest of what a report shows"] = True

    def __post_init__(self) -> None:
        for name, low in {
            "chains": 2,
            "betas": 2,
            "burn_in": 0,
            "bound_samples": 1,
            "samples": 0,
            "sample_steps": 1,
            "watch_every": 0,
        }.items():
            check_range(f"evaluation.{name}", getattr(self, name), low=low)
        if self.chain_steps:
            check_range("evaluation.chain_steps", self.chain_steps, low=16, remedy="Use 0 for none.")
        for quantity in self.watch:
            check_choice("evaluation.watch", quantity, QUANTITIES)


@dataclass(frozen=True)
class RunSettings:
    """A whole run. ``learning`` is one `LearningSettings` for all layers, or one for each.

    >>> settings = RunSettings.from_dict({"model": {"layers": [50, 50]}, "learning": {"epochs": 3}})
    >>> settings.model.layers, settings.learning[0].epochs
    ([50, 50], 3)
    >>> RunSettings.from_dict({"modell": {}})
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: the settings must have known names. Got 'modell'. Did you mean 'model'?
    """

    title: Annotated[str, "of the report"] = ""
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    batch_size: Annotated[int, "cases per step of greedy learning"] = 100
    learning: Annotated[list[LearningSettings], "one entry for all layers, or one for each"] = field(
        default_factory=lambda: [LearningSettings()]
    )
    fine_tuning: Annotated[FineTuning | None, "learning from labels by back-propagation; null for none"] = None
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    seed: Annotated[int, "drives every random number of the run"] = 0
    device: Annotated[str, "auto, cpu, cuda ..."] = "auto"
    precision: Annotated[str, "fp32 or bf16"] = "fp32"
    threads: Annotated[int | None, "CPU threads; null leaves them as they are, 1 is best for small layers"] = None
    checkpoint_every: Annotated[int, "epochs between two checkpoints"] = 1

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size, low=1)
        check_range("seed", self.seed, low=0)
        if self.threads is not None:
            check_range("threads", self.threads, low=1)
        check_range("checkpoint_every", self.checkpoint_every, low=1)
        check(
            len(self.learning) in (1, len(self.model.layers)),
            f"learning must have 1 entry or {len(self.model.layers)}, one for each layer. Got {len(self.learning)}.",
        )
        check_choice("precision", self.precision, ["fp32", "bf16"])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSettings:
        """Settings from nested names and values; an unknown name is an error that names the nearest known one."""
        return from_tree(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Nested names and values, for JSON and reports."""
        return to_tree(self)

    @classmethod
    def from_yaml(cls, text: str | bytes, source: str = "the settings") -> RunSettings:
        """Settings from YAML text; names left out take their defaults."""
        try:
            values = yaml.safe_load(text)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            place = " ".join(str(error).split())
            raise InvalidArgumentError(f"{source} must be YAML. Got: {place}.") from error
        return cls.from_dict({} if values is None else values)

    def to_yaml(self) -> str:
        """YAML with a sentence beside each setting; `from_yaml` takes it back unchanged."""
        return to_yaml(self, {LearningSettings: LEARNING_NOTES})

    def plans(self) -> list[LearningSettings]:
        """The learning settings of each layer."""
        return self.learning if len(self.learning) > 1 else self.learning * len(self.model.layers)

    def but(self, **changes: Any) -> RunSettings:
        """These settings with some parts replaced: ``settings.but(seed=1, data={"inverted": True})``.

        A mapping changes the named entries of a part and leaves its others.
        """
        check_names(list(changes), list(self.__dataclass_fields__))
        merged = {
            name: {**(to_tree(getattr(self, name)) or {}), **value} if name in PARTS and value is not None else value
            for name, value in changes.items()
        }
        tree = from_tree(RunSettings, merged)
        return replace(self, **{name: getattr(tree, name) for name in merged})


def read_settings(path: str | Path) -> RunSettings:
    """Settings from a YAML file."""
    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(f"the settings file must exist. Got {str(path)!r}. Check the path.")
    return RunSettings.from_yaml(path.read_bytes(), str(path))


def write_settings(settings: RunSettings, path: str | Path) -> None:
    """Write settings as YAML, atomically."""
    atomic_write_text(path, settings.to_yaml())
