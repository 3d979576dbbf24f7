"""The gradient with labels against automatic differentiation of the enumerated objective; resume; wrong settings."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepbelief.data.sets import load_set
from deepbelief.data.source import make_source
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.classification import ClassificationLearning
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.oracle.checks import exact_gradient, largest_gap, make_context
from tests.oracle.joint import Joint
from tests.oracle.zoo import tiny_classifier

TERMS = {
    "discriminative": {"discriminative": 1.0, "generative": 0.0},
    "generative": {"discriminative": 0.0, "generative": 1.0},
    "hybrid": {"discriminative": 1.0, "generative": 0.3},
    "semi-supervised": {"discriminative": 0.8, "generative": 0.3, "unlabelled": 0.6},
    "without labels": {"discriminative": 0.0, "generative": 0.0, "unlabelled": 1.0},
}
N_CLASSES = 3


def exact_objective(terms: dict[str, float]) -> Callable[[RBM, Batch], Tensor]:
    """The three terms by enumeration of the joint law, differentiable."""

    def objective(rbm: RBM, batch: Batch) -> Tensor:
        joint, eye, total = Joint.of(rbm), torch.eye(N_CLASSES, dtype=torch.float64), torch.zeros(()).double()
        assert batch.y is not None
        weight = torch.ones(len(batch.x)).double() if batch.weight is None else batch.weight
        for row, label, share in zip(batch.x, batch.y, weight / weight.sum(), strict=True):
            log_joint = torch.stack([joint.given_visible(torch.cat([row, y])).log_z for y in eye]) - joint.log_z
            log_x = log_joint.logsumexp(0)
            if label < 0:
                total = total + share * terms.get("unlabelled", 0.0) * log_x
            else:
                posterior = terms["discriminative"] * (log_joint[label] - log_x)
                total = total + share * (posterior + terms["generative"] * log_joint[label])
        return total

    return objective


def gap(model: ClassificationRBM, batch: Batch, terms: dict[str, float], *, centred: bool, l2: float = 0.0) -> float:
    procedure = ClassificationLearning(
        model, ExactModel(), **terms, learning_rate=0.0, offset_rate=0.0, centred=centred, l2=l2
    )
    generator = torch.Generator().manual_seed(0)
    procedure.start(batch, generator)
    procedure.step(batch, make_context(generator))
    found = {name: -parameter.grad for name, parameter in model.rbm.named_parameters()}
    wanted = exact_gradient(model.rbm, batch, centred=centred, l2=l2, objective=exact_objective(terms))
    return largest_gap(found, wanted)


def labelled_batch(model: ClassificationRBM, generator: torch.Generator, *, weighted: bool = False) -> Batch:
    x = model.visible.sample(torch.zeros(6, model.n_features, dtype=torch.float64), generator)
    weight = torch.rand(6, generator=generator, dtype=torch.float64) + 0.1 if weighted else None
    return Batch(x, torch.tensor([0, 2, -1, 1, -1, 2]), weight)


@pytest.mark.parametrize(
    ("visible", "hidden"), [("bernoulli", "bernoulli"), ("with_gaussian", "spin"), ("spin", "gaussian")]
)
@pytest.mark.parametrize("terms", TERMS)
def test_gradient_is_that_of_the_enumerated_objective(
    visible: str, hidden: str, terms: str, generator: torch.Generator
) -> None:
    # a model of known x's given unknown labels draws a label, so the exact rule must not depend on the draw
    model = tiny_classifier(visible, hidden, generator)
    batch = labelled_batch(model, generator, weighted=terms == "hybrid")
    assert gap(model, batch, TERMS[terms], centred=True, l2=0.01) < 1e-9
    assert gap(model, batch, TERMS[terms], centred=False) < 1e-9


def forgotten_subtraction(patch: pytest.MonkeyPatch) -> None:
    """log p(x, y) where log p(y | x) was asked for."""
    data_half = ClassificationLearning._data_half

    def forgetful(self: ClassificationLearning, seen: object) -> Moments:
        seen.log_posterior = torch.full_like(seen.log_posterior, -torch.inf)  # type: ignore[attr-defined]
        return data_half(self, seen)  # type: ignore[arg-type]

    patch.setattr(ClassificationLearning, "_data_half", forgetful)


def unscaled_model(patch: pytest.MonkeyPatch) -> None:
    """The model's half at full strength, whatever share of the batch asks for it."""
    patch.setattr("deepbelief.energy.gradients.classification._scaled", lambda found, factor: found)


@pytest.mark.parametrize("plant", [forgotten_subtraction, unscaled_model])
def test_planted_bugs_are_seen(
    plant: Callable[[pytest.MonkeyPatch], None], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_classifier("bernoulli", "bernoulli", generator)
    plant(monkeypatch)
    assert gap(model, labelled_batch(model, generator), TERMS["hybrid"], centred=True) > 1e-3


def test_discriminative_learning_leaves_p_of_x_alone(generator: torch.Generator) -> None:
    model = tiny_classifier("bernoulli", "bernoulli", generator)
    procedure = ClassificationLearning(model, generative=0.0, centred=False, learning_rate=0.0)
    procedure.step(labelled_batch(model, generator), make_context(generator))
    assert not model.visible.bias.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("negative", [lambda: ContrastiveDivergence(2), lambda: PersistentChains(10)])
def test_resumed_training_equals_one_that_never_stopped(negative: Callable[[], object], tmp_path: object) -> None:
    digits = load_set("digits")
    labels = torch.where(torch.arange(300) % 3 > 0, digits.y[:300], -1)  # type: ignore[index]
    source = make_source(digits.x[:300], labels, scale=digits.scale, batch_size=64)

    def train(epochs: list[int]) -> dict[str, Tensor]:
        for n in epochs:
            model = ClassificationRBM(64, 12, 10, generator=make_generator(0))
            procedure = ClassificationLearning(model, negative(), unlabelled=0.1, momentum=0.5)  # type: ignore[arg-type]
            folder = f"{tmp_path}/{len(epochs)}"
            trainer = Trainer(epochs=n, checkpoint_dir=folder, progress=False, averaging=0.9)
            trainer.fit(procedure, source, resume_from=folder if n > epochs[0] else None)
        return dict(model.state_dict())

    whole, parts = train([4]), train([2, 4])
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_settings_that_cannot_learn_are_refused() -> None:
    model = ClassificationRBM(4, 2, 3)
    with pytest.raises(InvalidArgumentError, match="negative must be given"):
        ClassificationLearning(model, generative=0.1)
    with pytest.raises(InvalidArgumentError, match="must be above 0"):
        ClassificationLearning(model, discriminative=0.0, generative=0.0)
    with pytest.raises(InvalidArgumentError, match="group_size must be None for learning labels"):
        ClassificationLearning(model, generative=0.0, group_size=2, group_cost=0.1)
    with pytest.raises(InvalidDataError, match="y must be given"):
        ClassificationLearning(model, generative=0.0).step(Batch(torch.zeros(2, 4)), make_context(make_generator(0)))
