"""What `evaluate` judges: an estimator of `fit`, a stack of `train`, or a file of samples, behind one small face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbelief.cli.conditions import class_value, width_of
from deepbelief.cli.faces import Face, find_face
from deepbelief.cli.models import load_stack
from deepbelief.errors import DataNotFoundError, InvalidArgumentError

if TYPE_CHECKING:
    from torch import Tensor

    from deepbelief.belief.stack import BeliefStack
    from deepbelief.data.binarize import Binarization
    from deepbelief.recipes.evaluate_data import Given
    from deepbelief.recipes.evaluate_model import Subject
    from deepbelief.recipes.run_data import Preparation
    from deepbelief.types import Bound

LABEL_STREAM, CHUNK = 602, 4096


@dataclass(frozen=True)
class Drawing:
    """How a model draws: its seed, the sweeps of its chains, one of its methods, and the effort of annealing."""

    seed: int = 0
    steps: int = 1000
    method: str | None = None
    betas: int = 1000


def find_subject(path: Path, drawing: Drawing, label: str | None) -> tuple[Subject, Preparation | None]:
    """The model in a folder, or the samples in a file; with how the model's data are read, None for samples."""
    if path.is_file():
        return SampleFile(path, label), None
    if not path.exists():
        raise DataNotFoundError(
            f"MODEL must be the folder of a model or a file of samples. Got {str(path)!r}. Check it."
        )
    face = find_face(path)
    if face is not None:
        face.check_draws_alone()
        return OfFace(face, drawing), face.how
    dbn, how = load_stack(path)
    return OfStack(dbn, how, drawing), how


class SampleFile:
    """Draws in a file, from anywhere."""

    is_model = False
    binarization: Binarization | None = None
    threshold = 0.5

    def __init__(self, path: Path, label: str | None) -> None:
        self.path, self.name, self.label = path, path.name, label

    def draw(self, n: int, given: Given) -> Tensor:
        """All of them, of which `n` are judged: a file may be sorted."""
        from deepbelief.recipes.evaluate_data import read_samples

        return read_samples(str(self.path), given.train.shape[1], self.label)

    def log_likelihood(self, x: Tensor, y: Any, names: list[str] | None) -> Bound | None:
        """None: samples say nothing of it."""
        return None

    def codes(self, x: Tensor, y: Any, names: list[str] | None) -> Any:
        """None: nor of these."""
        return None


class OfFace:
    """A fitted estimator; a conditional one draws for the labels of held-out cases, and scores each case by its own."""

    is_model, threshold = True, 0.5

    def __init__(self, face: Face, drawing: Drawing) -> None:
        self.face, self.drawing, self.name = face, drawing, type(face.estimator).__name__
        own = getattr(face.estimator, "binarization", None)
        self.binarization: Binarization | None = None if own == "none" else own

    def draw(self, n: int, given: Given) -> Tensor:
        """`n` draws on the scale of the data."""
        import torch

        from deepbelief.rng import make_generator

        how: dict[str, Any] = {"seed": self.drawing.seed, "steps": self.drawing.steps, "method": self.drawing.method}
        labels = self._condition(given.truth, given.class_names)
        if labels is not None:
            generator = make_generator(self.drawing.seed, stream=LABEL_STREAM)
            labels = labels[torch.randint(len(labels), (n,), generator=generator).numpy()]
        return torch.as_tensor(self.face.sample(n, mean=False, labels=labels, **how)).float()

    def log_likelihood(self, x: Tensor, y: Any, names: list[str] | None) -> Bound | None:
        """Of each case, given its label where the model is conditional."""
        if not hasattr(self.face.estimator, "log_likelihood"):
            return None
        return self.face.log_likelihood(x.numpy(), self._condition(y, names))

    def codes(self, x: Tensor, y: Any, names: list[str] | None) -> Any:
        """What `transform` gives."""
        if not hasattr(self.face.estimator, "transform"):
            return None
        return self.face.features(x.numpy(), self._condition(y, names))

    def _condition(self, y: Any, names: list[str] | None) -> Any:
        """The labels as a conditional estimator knows them; None for one that needs none."""
        import numpy as np

        from deepbelief.recipes.fit_data import Part
        from deepbelief.recipes.fit_model import condition_of

        if width_of(self.face.estimator) is None or (y is None and self.name == "GAN"):
            return None  # a GAN draws its labels as they came in the data
        if y is None:
            raise InvalidArgumentError(
                f"a conditional {self.name} must be given a label for each case. Got none. Name them with --label."
            )
        numbers = condition_of(Part(y, y))
        if names is None or numbers.ndim == 2:
            return numbers
        return np.asarray([class_value(self.face, name, "the label") for name in names])[numbers]


class OfStack:
    """A DBN or an RBM of `train`, or one that was saved from Python."""

    is_model = True

    def __init__(self, dbn: BeliefStack, how: Preparation, drawing: Drawing) -> None:
        from deepbelief.recipes.run_evaluation import model_name

        self.dbn, self.how, self.drawing, self.name = dbn, how, drawing, model_name(dbn)
        self.binarization: Binarization | None = None if how.scored == "none" else how.scored
        self.threshold = how.threshold

    def draw(self, n: int, given: Given) -> Tensor:
        """`n` draws in the range of the prepared cases."""
        from deepbelief.rng import make_generator

        options: dict[str, Any] = {"n_steps": self.drawing.steps, "method": self.drawing.method or "gibbs"}
        drawn = self.dbn.sample(n, generator=make_generator(self.drawing.seed), **options)
        return self.how.unshown(drawn).float()

    def log_likelihood(self, x: Tensor, y: Any, names: list[str] | None) -> Bound | None:
        """Of each case, which are bits where the visible units are; log Z is annealed where it must be."""
        from deepbelief.evaluation.likelihood import chunked_log_likelihood, model_log_z
        from deepbelief.rng import make_generator

        seen, generator = self.how.shown(x), make_generator(self.drawing.seed)
        log_z = model_log_z(self.dbn, seen, n_chains=100, betas=self.drawing.betas, generator=generator)
        return chunked_log_likelihood(self.dbn, seen, generator=generator, log_z=log_z)

    def codes(self, x: Tensor, y: Any, names: list[str] | None) -> Any:
        """The means of the top layer."""
        import torch

        with torch.no_grad():
            return torch.cat([self.dbn.encode(rows) for rows in self.how.shown(x).split(CHUNK)]).numpy()
