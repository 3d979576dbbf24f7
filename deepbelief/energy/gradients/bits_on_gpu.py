"""The update of an RBM of Bernoulli units on a GPU: CD-k and PCD-k in 2 k + 3 kernels and some vectors' algebra.

The law and the gradient are those of `LikelihoodLearning` in general, by other random numbers. Chains are bytes from
one update to the next, means of h are kept in the type of the products, and the weights take their step in the kernel
that multiplies both halves of the gradient. Nothing waits for the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.negative import NegativePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.update import Step
from deepbelief.energy.rbm import RBM
from deepbelief.native import gpu
from deepbelief.protocols import Generator
from deepbelief.types import Batch


@dataclass(frozen=True)
class GPUChange:
    """What an update did: the data's means of v and h, and the biases' gradients of minus the log-likelihood."""

    v_data: Tensor
    h_data: Tensor
    down_v: Tensor
    down_h: Tensor


@dataclass(frozen=True)
class GPUSweeps:
    """Half-steps of many chains of an RBM, with weights in the type of the products and one key for all draws."""

    rbm: RBM
    w: Tensor
    key: Tensor

    def up(self, v: Tensor, draw: int | None = None) -> gpu.Drawn:
        """Means of h given v, their column sums, and draws if they have a number."""
        bias, state = self.rbm.hidden.bias, None if draw is None else torch.uint8
        return gpu.layer(v, self.w, bias, mean=self.w.dtype, state=state, key=self.key, draw=draw or 0, sums=gpu.MEANS)

    def down(self, h: Tensor, draw: int, *, mean: bool = False) -> gpu.Drawn:
        """Draws of v given h with their column sums, and means in float32 if wanted."""
        bias, means = self.rbm.visible.bias, torch.float32 if mean else None
        return gpu.layer(h, self.w.T, bias, mean=means, state=torch.uint8, key=self.key, draw=draw, sums=gpu.DRAWS)

    def there_and_back(self, h: Tensor, draw: int) -> Tensor:
        """A sweep from h to h, of which nothing but the states is wanted."""
        v = gpu.layer(h, self.w.T, self.rbm.visible.bias, state=torch.uint8, key=self.key, draw=draw).state
        return gpu.layer(v, self.w, self.rbm.hidden.bias, state=torch.uint8, key=self.key, draw=draw + 1).state


def serves(rbm: RBM, batch: Batch) -> bool:
    """Whether this update is made on a GPU: equal cases, enough of them."""
    if not gpu.on_gpu(rbm.weight):
        return False
    parts = (rbm.visible.bias, rbm.hidden.bias, rbm.visible_offset, rbm.hidden_offset)
    if batch.weight is not None or batch.x.ndim != 2 or batch.x.shape[1] != rbm.visible.size:
        return False
    return gpu.serves(rbm.weight, *parts, batch.x) and gpu.pays(rbm.weight, len(batch.x))


def update_on_gpu(
    rbm: RBM, negative: NegativePhase, x: Tensor, generator: Generator, step: Step
) -> tuple[GPUChange, dict[str, Tensor]]:
    """Draw the model's states and move the weights.

    Also returns what the chains watch. `x` is (n, n_visible), `negative` contrastive divergence or persistent chains.
    """
    real, watched = torch.bfloat16 if gpu.halved(x.device) else torch.float32, {}
    sweeps = GPUSweeps(rbm, rbm.weight.detach().to(real), gpu.new_key(x, generator))
    if isinstance(negative, PersistentChains):
        data, h = sweeps.up(x), negative.h.to(torch.uint8)
        for k in range(negative.k - 1):
            h = sweeps.there_and_back(h, 2 * k)
        below = sweeps.down(h, 2 * negative.k)
        above = sweeps.up(below.state, 2 * negative.k + 1)
        negative.take(rbm, below.state.to(x.dtype), above.state, x)
    else:
        assert isinstance(negative, ContrastiveDivergence)
        data = sweeps.up(x, 0)
        below = sweeps.down(data.state, 1, mean=True)
        watched["reconstruction_error"] = (x - below.mean).square().sum(-1).mean()
        for k in range(1, negative.k):
            h = gpu.layer(below.state, sweeps.w, rbm.hidden.bias, state=torch.uint8, key=sweeps.key, draw=2 * k).state
            below = sweeps.down(h, 2 * k + 1)
        above = sweeps.up(below.state)
    n, m = len(x), len(below.state)
    of_data = gpu.Half(x, data.mean, x.mean(0), data.sums / n)
    of_model = gpu.Half(below.state, above.mean, below.sums / m, above.sums / m)
    offsets = (rbm.visible_offset, rbm.hidden_offset) if step.centred else None
    shifts = gpu.step(rbm.weight, of_data, of_model, offsets, rate=step.rate, l2=step.l2)
    change = _change(of_data, of_model, shifts)
    if step.offset_rate is not None:
        _settle(rbm, change, step.rate, step.offset_rate)
    return change, watched


def _change(data: gpu.Half, model: gpu.Half, shifts: tuple[Tensor, Tensor] | None) -> GPUChange:
    change = GPUChange(
        data.average_v, data.average_h, model.average_v - data.average_v, model.average_h - data.average_h
    )
    if shifts is None:
        return change
    return replace(change, down_v=change.down_v + shifts[0], down_h=change.down_h + shifts[1])


def _settle(rbm: RBM, change: GPUChange, rate: float, offset_rate: float) -> None:
    """Step the biases, and move the offsets towards the data's means."""
    rbm.visible.bias.sub_(change.down_v, alpha=rate)
    rbm.hidden.bias.sub_(change.down_h, alpha=rate)
    rbm.visible_offset.lerp_(change.v_data, offset_rate)
    rbm.hidden_offset.lerp_(change.h_data, offset_rate)
