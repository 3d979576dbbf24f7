"""Supervised learning of any module by back-propagation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbelief.errors import InvalidDataError, check_choice, check_count, check_positive, check_range
from deepbelief.protocols import StepContext
from deepbelief.training.adam import AdamW
from deepbelief.training.optimization import check_rates, make_optimizer
from deepbelief.training.schedules import Schedule, make_schedule
from deepbelief.types import Batch

LOSSES = ("cross_entropy", "mse", "bce")
OPTIMIZERS = ("adam", "sgd", "lbfgs")


class SupervisedProcedure:
    """Lower a loss between ``module(x)`` and ``y`` with one step of an optimizer per batch.

    Parameters
    ----------
    loss
        ``cross_entropy`` (outputs are log-odds, `y` holds class indices or rows of probabilities), ``mse`` (summed
        over outputs), ``bce`` (outputs are log-odds, `y` lies in [0, 1]; summed over outputs). Each is averaged over
        cases with the case weights.
    optimizer
        ``adam`` (decoupled weight decay), ``sgd`` (with Nesterov momentum), or ``lbfgs`` (strong Wolfe line search,
        `lbfgs_steps` iterations per batch; give it large batches).
    schedule
        A name for `make_schedule`, or a function from progress to a learning rate.
    weight_decay
        L2 penalty; biases and other vectors have none.
    max_norm
        Largest length of a unit's incoming weights, kept after every step (Srivastava et al. 2014).
    adversarial
        Adversarial training (Goodfellow et al. 2015): above 0 the loss is ``(J(x, y) + J(x + e sign(dJ/dx), y)) / 2``
        with this e, in the units of x. The loss that is logged is this one, the error rate that of x.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        loss: str = "cross_entropy",
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        schedule: str | Schedule = "constant",
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        max_norm: float | None = None,
        label_smoothing: float = 0.0,
        adversarial: float = 0.0,
        lbfgs_steps: int = 5,
    ) -> None:
        check_choice("loss", loss, LOSSES)
        check_choice("optimizer", optimizer, OPTIMIZERS)
        check_range("label_smoothing", label_smoothing, low=0, high=1)
        check_count("lbfgs_steps", lbfgs_steps, low=1)
        if max_norm is not None:
            check_positive("max_norm", max_norm)
        check_range("adversarial", adversarial, low=0)
        self.module, self.loss, self.label_smoothing, self.adversarial = module, loss, label_smoothing, adversarial
        self.learning_rate, self.max_norm, self.weight_decay = learning_rate, max_norm, weight_decay
        self._schedule = schedule if callable(schedule) else make_schedule(schedule, learning_rate)
        self.optimizer = self._make_optimizer(optimizer, momentum, lbfgs_steps)

    def _make_optimizer(self, name: str, momentum: float, lbfgs_steps: int) -> AdamW | torch.optim.Optimizer:
        trained = [p for p in self.module.parameters() if p.requires_grad]
        if name == "lbfgs":
            check_rates(self.learning_rate, self.weight_decay, momentum)
            return torch.optim.LBFGS(
                trained, lr=self.learning_rate, max_iter=lbfgs_steps, line_search_fn="strong_wolfe"
            )
        return make_optimizer(trained, name, self.learning_rate, weight_decay=self.weight_decay, momentum=momentum)

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Check that one batch fits the module, before any step is made."""
        if first.y is None:
            raise InvalidDataError("batches must have labels or targets y. Got none. Give y to the data source.")
        self.module.eval()
        with torch.no_grad():
            self._case_losses(self.module(first.x), first.y)

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One step of the optimizer; returns the loss, and the error rate of a classifier."""
        if not self.module.training:
            self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._schedule(context.progress)
        if isinstance(self.optimizer, torch.optim.LBFGS):
            metrics = self._line_search_step(batch, context)
        else:
            metrics = self._gradient(batch, context)
            self.optimizer.step()
        if self.max_norm is not None:
            limit_incoming_weights(self.module, self.max_norm)
        return metrics

    def _gradient(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        assert batch.y is not None
        x = batch.x.detach().requires_grad_() if self.adversarial else batch.x
        loss, output = self._loss(x, batch, context)
        if self.adversarial:
            (0.5 * loss).backward()  # of the parameters and of x in one pass; the moved cases' gradients are added
            assert x.grad is not None
            moved = x.detach() + self.adversarial * x.grad.sign()
            worse, _ = self._loss(moved, batch, context)
            (0.5 * worse).backward()
            loss = 0.5 * (loss + worse)
        else:
            loss.backward()
        context.average(self.module.parameters())
        metrics = {"loss": loss.detach()}
        if self.loss == "cross_entropy":
            classes = batch.y if batch.y.ndim == 1 else batch.y.argmax(1)
            metrics["error_rate"] = (output.detach().argmax(1) != classes).double().mean()
        return metrics

    def _loss(self, x: Tensor, batch: Batch, context: StepContext) -> tuple[Tensor, Tensor]:
        """The mean loss of the batch's labels given x, by the case weights; and the outputs."""
        assert batch.y is not None
        with context.autocast():
            output = self.module(x)
        losses = self._case_losses(output if output.dtype == torch.float64 else output.float(), batch.y)
        weight = torch.ones_like(losses) if batch.weight is None else batch.weight.to(losses.dtype)
        return (losses * weight).sum() / weight.sum().clamp_min(torch.finfo(losses.dtype).tiny), output

    def _line_search_step(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """L-BFGS asks for the loss several times; dropout must then fall alike each time, so its stream is replayed."""
        seen: list[dict[str, Tensor]] = []
        stream = torch.get_rng_state()

        def closure() -> float:
            torch.set_rng_state(stream)
            metrics = self._gradient(batch, context)
            seen.append(metrics)
            penalty = self._decay_into_gradient()
            return self._mean_over_processes(metrics["loss"], context) + penalty

        assert isinstance(self.optimizer, torch.optim.LBFGS)
        self.optimizer.step(closure)
        return seen[0]

    def _decay_into_gradient(self) -> float:
        """Weight decay for L-BFGS, as a penalty that its line search sees."""
        if self.weight_decay == 0:
            return 0.0
        penalty = 0.0
        for parameter in self.module.parameters():
            if parameter.grad is not None and parameter.ndim > 1:
                parameter.grad.add_(parameter.detach(), alpha=self.weight_decay)
                penalty += 0.5 * self.weight_decay * float(parameter.detach().square().sum())
        return penalty

    @staticmethod
    def _mean_over_processes(value: Tensor, context: StepContext) -> float:
        """The line searches of all processes must see one loss; it travels as a gradient does."""
        carrier = nn.Parameter(torch.zeros_like(value))
        carrier.grad = value.clone()
        context.average([carrier])
        return float(carrier.grad)

    def _case_losses(self, output: Tensor, y: Tensor) -> Tensor:
        """One loss per case, (cases,)."""
        if self.loss == "cross_entropy":
            self._check_classes(output, y)
            target = y.long() if y.ndim == 1 else y.to(output.dtype)
            return F.cross_entropy(output, target, reduction="none", label_smoothing=self.label_smoothing)
        if output.shape[0] != y.shape[0] or output.numel() != y.numel():
            raise InvalidDataError(
                f"y must have the shape of the outputs, {tuple(output.shape)}. Got {tuple(y.shape)}. Reshape y."
            )
        target = y.to(output.dtype).view_as(output)
        elementwise = F.mse_loss if self.loss == "mse" else F.binary_cross_entropy_with_logits
        return elementwise(output, target, reduction="none").flatten(1).sum(1)

    @staticmethod
    def _check_classes(output: Tensor, y: Tensor) -> None:
        if y.ndim == 2 and y.shape != output.shape:
            raise InvalidDataError(f"y must have {output.shape[1]} columns, one per class. Got {y.shape[1]}.")
        if not output.is_cuda and y.ndim == 1 and (int(y.min()) < 0 or int(y.max()) >= output.shape[1]):
            raise InvalidDataError(
                f"y must hold class indices from 0 to {output.shape[1] - 1}. Got {int(y.min())} to {int(y.max())}. "
                "Number the classes from 0, or give the module more outputs."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])


@torch.no_grad()
def limit_incoming_weights(module: nn.Module, max_norm: float) -> None:
    """Scale every unit's incoming weights down to length `max_norm` where they are longer."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            lengths = layer.weight.norm(dim=1, keepdim=True)
            layer.weight.mul_((max_norm / lengths.clamp_min(1e-12)).clamp_max(1.0))
