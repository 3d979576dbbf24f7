"""Classes from few labels and many cases without: virtual adversarial training (Miyato, Maeda, Koyama & Ishii 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_count, check_positive, check_range
from deepbelief.protocols import StepContext
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.types import Batch

PROBE = 0.05  # of the radius: how far the first, random move goes, whose slope is the direction of the second


class VirtualAdversarialProcedure(SupervisedProcedure):
    """Learn the labels there are, and the same answers where any case is moved a little, in the way that changes most.

        loss = <-log p(y | x)>  +  <KL(p(. | x) || p(. | x + r))>  -  information (H(<p(. | x)>) - <H(p(. | x))>)

    The first mean is over cases drawn from `labelled`, the others over the batch, whose labels are not looked at. r has
    the length `radius` and goes along the slope of the divergence at a short random move (one step of power iteration);
    in the divergence ``p(. | x)`` counts as given. The last term is what an answer tells about its case, in nats
    (Krause, Perona & Gomes 2010): answers are to be sure, and all classes to be given; without its second half few
    labels make classes merge. So borders between classes come to lie where there are no cases. Leave dropout out: its
    noise would stand in the answers that are compared.

    Parameters
    ----------
    module
        Maps cases (n, ...) to log-odds of classes (n, n_classes).
    labelled
        Cases, class indices or rows of probabilities, and weights if there are any.
    radius
        Length of r (L2), in the units of x: about a fifth of what a case measures (2 for MNIST in [0, 1]).
    information
        Weight of the last term: 0 leaves it out, 1 suits classes that are about as frequent.
    n_labelled
        How many labelled cases join each step; all of them where there are no more.
    options
        Those of `SupervisedProcedure` but `loss`, `adversarial` and ``optimizer="lbfgs"``.

    Examples
    --------
    >>> import torch
    >>> from deepbelief.data.source import ArraySource
    >>> from deepbelief.training.trainer import Trainer
    >>> _ = torch.manual_seed(0)
    >>> x = torch.cat([torch.randn(200, 2) * 0.1 + 1, torch.randn(200, 2) * 0.1 - 1])
    >>> net, few = torch.nn.Linear(2, 2), Batch(x[[0, 200]], torch.tensor([0, 1]))
    >>> rule = VirtualAdversarialProcedure(net, few, radius=0.5, learning_rate=0.05)
    >>> _ = Trainer(epochs=20, progress=False).fit(rule, ArraySource(x, batch_size=50))
    >>> net(x).argmax(1).bincount().tolist()
    [200, 200]
    """

    def __init__(
        self,
        module: nn.Module,
        labelled: Batch,
        *,
        radius: float,
        information: float = 0.3,
        n_labelled: int = 100,
        **options: Any,
    ) -> None:
        super().__init__(module, **options)
        if isinstance(self.optimizer, torch.optim.LBFGS) or self.adversarial or self.loss != "cross_entropy":
            raise InvalidArgumentError(
                "virtual adversarial training needs loss='cross_entropy', adversarial=0 and no line search. "
                f"Got loss={self.loss!r}, optimizer={options.get('optimizer', 'adam')!r}, "
                f"adversarial={self.adversarial}. Leave them as they are by default."
            )
        check_positive("radius", radius)
        check_range("information", information, low=0)
        check_count("n_labelled", n_labelled, low=1)
        if labelled.y is None or len(labelled.x) == 0:
            raise InvalidDataError("labelled must hold cases and their labels y. Got none. Label a few cases first.")
        self.labelled, self.radius, self.information, self.n_labelled = labelled, radius, information, n_labelled

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Check that the labelled cases fit the module, and those of the first batch them."""
        of, few = self.labelled, slice(self.n_labelled)
        assert of.y is not None
        super().start(Batch(of.x[few], of.y[few]).to(first.x.device), generator, rank=rank, world_size=world_size)
        if first.x.shape[1:] != self.labelled.x.shape[1:]:
            shapes = tuple(self.labelled.x.shape[1:]), tuple(first.x.shape[1:])
            raise InvalidDataError(
                f"cases without labels must have the shape of those with, {shapes[0]}. Got {shapes[1]}. "
                "Give the same columns."
            )

    def _some(self, generator: torch.Generator, device: torch.device) -> Batch:
        """The labelled cases of a step."""
        of, n = self.labelled, len(self.labelled.x)
        if n <= self.n_labelled:
            return of.to(device)
        rows = torch.randint(n, (self.n_labelled,), generator=generator, device=generator.device).to(of.x.device)
        assert of.y is not None
        return Batch(of.x[rows], of.y[rows], None if of.weight is None else of.weight[rows]).to(device)

    def _gradient(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        some = self._some(context.generator, batch.x.device)
        loss, output = self._loss(some.x, some, context)
        log_p = self._log_p(batch.x, context)
        given = log_p.detach()
        share = _shares(given, batch.weight)
        divergence = share @ _divergence(given, self._log_p(self._moved(batch.x, given, context), context))
        information = _information(log_p, share)
        total = loss + divergence - self.information * information
        total.backward()
        context.average(self.module.parameters())
        assert some.y is not None
        classes = some.y if some.y.ndim == 1 else some.y.argmax(1)
        wrong = (output.detach().argmax(1) != classes).double().mean()
        found = {"loss": total, "labels_loss": loss, "divergence": divergence, "information": information}
        return {"error_rate": wrong} | {name: value.detach() for name, value in found.items()}

    def _moved(self, x: Tensor, given: Tensor, context: StepContext) -> Tensor:
        """Each case moved by `radius` in the direction in which its answer changes most."""
        generator = context.generator
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
        probe = (PROBE * self.radius * _unit(noise)).requires_grad_()
        (slope,) = torch.autograd.grad(_divergence(given, self._log_p(x + probe, context)).sum(), probe)
        return x + self.radius * _unit(slope)

    def _log_p(self, x: Tensor, context: StepContext) -> Tensor:
        with context.autocast():
            output = self.module(x)
        return F.log_softmax(output if output.dtype == torch.float64 else output.float(), 1)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each case, in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


def _information(log_p: Tensor, share: Tensor) -> Tensor:
    """The mutual information of cases and answers: the entropy of the mean answer less the answers' own, in nats."""
    of_each = -(log_p.exp() * log_p).sum(1)
    mean = (share @ log_p.exp()).clamp_min(torch.finfo(log_p.dtype).tiny)  # at 0 the slope of an entropy is infinite
    return torch.special.entr(mean).sum() - share @ of_each


def _shares(log_p: Tensor, weight: Tensor | None) -> Tensor:
    """What each case counts in a mean; nothing where no case of a batch has any weight."""
    if weight is None:
        return log_p.new_full((len(log_p),), 1 / len(log_p))
    return (weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)).to(log_p)


def _unit(x: Tensor) -> Tensor:
    """Each case at length one; one of no length stays."""
    return F.normalize(x.flatten(1), dim=1).view_as(x)
