"""Learning with labels: generative, discriminative, hybrid and semi-supervised, in one rule.

For a case with a label it climbs ``discriminative * log p(y | x) + generative * log p(x, y)``, for one without
``unlabelled * log p(x)`` (Larochelle & Bengio 2008; Larochelle et al. 2012: alpha and beta are the last two).

The posterior's half of the gradient is closed:

    d log p(y | x) = <d(-E)>_{h | x, y} - <d(-E)>_{y', h | x},        d log p(x) = <d(-E)>_{y', h | x} - <d(-E)>_model
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.sparsity import check_no_groups
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError, check, check_range
from deepbelief.protocols import StepContext
from deepbelief.types import Batch


class _Seen:
    """One batch as the model sees it: h under every label, the labels' posterior, what is known."""

    def __init__(self, model: ClassificationRBM, batch: Batch) -> None:
        if batch.y is None:
            raise InvalidDataError("y must be given to learn labels. Got none. Use -1 for the label of a case without.")
        self.x, self.known = batch.x, batch.y >= 0
        self.labels = batch.y.clamp_min(0).long()
        self.inputs = model.label_inputs(batch.x)  # (n, n_classes, n_hidden)
        self.mean_h = model.hidden.mean(self.inputs)
        self.log_posterior = torch.log_softmax(model.scores_of_inputs(self.inputs), 1)
        n = len(batch.x)
        weight = torch.ones(n).to(batch.x) if batch.weight is None else batch.weight.to(batch.x)
        self.share = weight / weight.sum()

    def split(self, labelled: float, unlabelled: float) -> Tensor:
        """Each case's share of the batch, times the one number or the other."""
        return self.share * torch.where(self.known, self.share.new_tensor(labelled), self.share.new_tensor(unlabelled))

    def at(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs and means of h given one label for each case."""
        rows = torch.arange(len(labels), device=labels.device)
        return self.inputs[rows, labels], self.mean_h[rows, labels]


class ClassificationLearning:
    """One update of a classification RBM per batch; a `Procedure`. Labels below 0 in ``batch.y`` are unknown.

    `discriminative`, `generative` and `unlabelled` weigh the three terms, each a mean over all cases of the batch, so
    that the objective is a sum over cases whatever a batch holds. `negative` is the way to the model's half (CD,
    persistent chains, exact); a purely discriminative rule needs none. `options` are those of `LikelihoodLearning`,
    without groups.
    Watches ``log_posterior`` and ``error_rate`` of the batch's labelled cases.
    """

    def __init__(
        self,
        model: ClassificationRBM,
        negative: NegativePhase | None = None,
        *,
        discriminative: float = 1.0,
        generative: float = 0.01,
        unlabelled: float = 0.0,
        **options: Any,
    ) -> None:
        terms = {"discriminative": discriminative, "generative": generative, "unlabelled": unlabelled}
        for name, value in terms.items():
            check_range(name, value, low=0)
        check(any(terms.values()), "discriminative, generative or unlabelled must be above 0. Got three zeros.")
        self.sampling = generative > 0 or unlabelled > 0
        check(
            negative is not None or not self.sampling,
            f"negative must be given where x is modelled. Got generative={generative}, unlabelled={unlabelled} and "
            "none. Use ContrastiveDivergence().",
        )
        check_no_groups(options, "labels")
        self.module: torch.nn.Module = model
        self.model, self.negative = model, negative
        self.discriminative, self.generative, self.unlabelled = discriminative, generative, unlabelled
        self.rule = LikelihoodLearning(model.rbm, negative, module=model, **options)  # type: ignore[arg-type]

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start the chains."""
        if self.negative is not None:
            v = torch.cat([first.x, torch.softmax(self.model.label_scores(first.x), 1)], 1)
            self.negative.start(self.model.rbm, v.detach(), generator, rank=rank, world_size=world_size)

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update."""
        with context.autocast():
            seen = _Seen(self.model, batch)
            negative, watched = self._model_half(seen, context.generator)
        with torch.autocast(batch.x.device.type, enabled=False):
            self.rule.put_gradients(self._data_half(seen), negative)
            self.rule.advance(context, *self._means(seen))
        return {**watched, **self._watch(seen)}

    def _data_half(self, seen: _Seen) -> Moments:
        """Everything that is closed: h given x and y, minus (for p(y | x)) or plus (for p(x)) y and h given x."""
        with_label = seen.split(self.discriminative + self.generative, 0.0)
        spread = seen.split(-self.discriminative, self.unlabelled)
        posterior = spread.unsqueeze(1) * seen.log_posterior.exp()  # (n, n_classes)
        one_hot = with_label.unsqueeze(1) * F.one_hot(seen.labels, self.model.n_classes)
        every = (posterior + one_hot).unsqueeze(2) * seen.mean_h  # (n, n_classes, n_hidden)
        right = torch.cat([every.sum(1), every.sum(0)])  # cases meet their x, classes their one-hot row
        v = torch.cat([(with_label + spread) @ seen.x, (posterior + one_hot).sum(0)])
        rbm, weight = self.model.rbm, (posterior + one_hot).flatten()
        stats_h = rbm.hidden.expected_statistics(seen.inputs.flatten(0, 1), seen.mean_h.flatten(0, 1))
        stats_v = rbm.visible.statistics(F.pad(seen.x, (0, self.model.n_classes)))
        return Moments(
            v,
            every.sum((0, 1)),
            _block(seen.x, self.model.n_classes),
            right,
            {name: (with_label + spread) @ values for name, values in stats_v.items()},
            {name: weight @ values for name, values in stats_h.items()},
        )

    def _model_half(self, seen: _Seen, generator: torch.Generator) -> tuple[Moments, Mapping[str, Tensor]]:
        """Moments under the model of p(x, y), scaled by how much of the batch asks for them."""
        rbm = self.model.rbm
        if self.negative is None or not self.sampling:
            return _nothing(rbm), {}
        weight = seen.split(self.generative, self.unlabelled)
        labels = seen.labels
        if self.unlabelled:
            p = seen.log_posterior.exp()
            drawn = rbm.visible.part(1).draw(p, p, generator).argmax(1)  # type: ignore[operator]
            labels = torch.where(seen.known, labels, drawn)
        v = torch.cat([seen.x, F.one_hot(labels, self.model.n_classes).to(seen.x)], 1)
        total = weight.sum()
        phase = PositivePhase(v, *seen.at(labels), torch.where(total > 0, weight, seen.share))
        found, watched = self.negative.moments(rbm, phase, generator)
        return _scaled(found, total), watched

    def _means(self, seen: _Seen) -> tuple[Tensor, Tensor]:
        """Means of x, y and h under the data, an unknown label by its posterior; what the offsets run after."""
        one_hot = F.one_hot(seen.labels, self.model.n_classes).to(seen.x)
        label = torch.where(seen.known.unsqueeze(1), one_hot, seen.log_posterior.exp())
        mean_h = torch.einsum("nc,nch->h", seen.share.unsqueeze(1) * label, seen.mean_h)
        return torch.cat([seen.share @ seen.x, seen.share @ label]), mean_h

    def _watch(self, seen: _Seen) -> dict[str, Tensor]:
        share = seen.share * seen.known
        total = share.sum().clamp_min(torch.finfo(share.dtype).tiny)
        right = seen.log_posterior.gather(1, seen.labels.unsqueeze(1)).squeeze(1)
        wrong = (seen.log_posterior.argmax(1) != seen.labels).to(share)
        return {"log_posterior": share @ right / total, "error_rate": share @ wrong / total}

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.rule.update.state_dict()
        return {"optimizer": optimizer, "negative": None if self.negative is None else self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rule.update.load_state_dict(state["optimizer"])
        if self.negative is not None:
            self.negative.load_state_dict(state["negative"])


def _block(x: Tensor, n_classes: int) -> Tensor:
    """Rows of x without a label above rows of each label without an x."""
    top = F.pad(x, (0, n_classes))
    return torch.cat([top, F.pad(torch.eye(n_classes).to(x), (x.shape[1], 0))])


def _scaled(found: Moments, factor: Tensor) -> Moments:
    layers = [{name: factor * value for name, value in side.items()} for side in (found.visible, found.hidden)]
    return Moments(factor * found.v, factor * found.h, found.left, factor * found.right, layers[0], layers[1])


def _nothing(rbm: RBM) -> Moments:
    """Zeros: the model's half of an objective that does not ask for p(x)."""
    v, h = (rbm.weight.new_zeros(1, size) for size in rbm.weight.shape)
    visible = {name: torch.zeros_like(values[0]) for name, values in rbm.visible.statistics(v).items()}
    hidden = {name: torch.zeros_like(values[0]) for name, values in rbm.hidden.expected_statistics(h, h).items()}
    return Moments(v[0], h[0], v, h, visible, hidden)
