"""A convolutional deep belief network: convolutional RBMs, each over the pooling units of the one below.

    p(v) = sum_a p_1(v | a) p_2(a),        a: which blocks of the maps are on

Greedy learning replaces the law of the pooling units that the first RBM has, p_1(a), by that of the RBM above. Given a,
the first RBM says where in each block its detection unit is on, and the pixels (Lee, Grosse, Ranganath & Ng 2009). Its
marginal p_1(a) is not known, so unlike a `DBN` it has no bound on its likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from deepbelief.belief.greedy import start_layer
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.gradients.convolutional import ConvolutionalLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_negative, settings_of_each
from deepbelief.energy.gradients.sparsity import check_no_groups
from deepbelief.energy.kernels.clamped import check_clamp, to_average
from deepbelief.energy.kernels.tempering import CHAINS
from deepbelief.energy.pretraining import MappedSource
from deepbelief.errors import InvalidArgumentError, check, check_choice, check_count
from deepbelief.protocols import BatchSource, Generator
from deepbelief.rng import make_generator, spawn
from deepbelief.training.checkpoint import of_layer
from deepbelief.training.record import TrainingRecord
from deepbelief.training.schedules import make_schedule
from deepbelief.training.trainer import Trainer
from deepbelief.types import Clamp
from deepbelief.units.base import Units

RULES = ("cd", "pcd", "pt", "ptt")  # ways to the model's half


class ConvolutionalDBN(nn.Module):
    """A stack of convolutional RBMs; the pictures of each layer are the pooling units of the one below.

    >>> below = ConvolutionalRBM((1, 8, 8), 3, 3, pool=2)
    >>> dbn = ConvolutionalDBN([below, ConvolutionalRBM(below.pooled_shape, 4, 2, pool=2)])
    >>> dbn.encode(torch.zeros(5, 64)).shape, dbn.sample(2, n_steps=5).shape
    (torch.Size([5, 4]), torch.Size([2, 64]))
    """

    def __init__(self, layers: Sequence[ConvolutionalRBM]) -> None:
        super().__init__()
        check(len(layers) >= 1, "layers must be at least 1 convolutional RBM. Got none.")
        for i, (below, above) in enumerate(pairwise(layers), start=1):
            if above.image_shape != below.pooled_shape:
                raise InvalidArgumentError(
                    f"layer {i + 1} must have the image_shape {below.pooled_shape}, the pooling units of layer {i}. "
                    f"Got {above.image_shape}."
                )
        self.rbms = nn.ModuleList(layers)

    @property
    def layers(self) -> list[ConvolutionalRBM]:
        """The RBMs from the bottom to the top."""
        return list(self.rbms)  # type: ignore[arg-type]

    @property
    def visible(self) -> Units:
        """The units of the pixels."""
        return self.layers[0].visible

    def upward(
        self, x: Tensor, *, n_layers: int | None = None, sample: bool = False, generator: Generator = None
    ) -> Tensor:
        """The pooling units of layer `n_layers` (default: the top), by means or by draws."""
        if n_layers is not None:
            check_count("n_layers", n_layers, low=0, high=len(self.layers))
        for rbm in self.layers[:n_layers]:
            x = rbm.hidden.pool(rbm.sample_h_from_v(x, generator)) if sample else rbm.encode(x)
        return x

    def downward(
        self,
        a: Tensor,
        *,
        sample: bool = False,
        mean_at_end: bool = True,
        n_down: int = 20,
        generator: Generator = None,
    ) -> Tensor:
        """Pixels from the pooling units below the top RBM, by means or by draws (`n_down` sweeps of each layer).

        Draws end in the means of the pixels unless `mean_at_end` is False.
        """
        if not sample:
            for rbm in self.layers[-2::-1]:
                a = rbm.decode(a)
            return a
        return self._downward(a, n_down, generator)[int(mean_at_end)]

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """How likely each pooling unit of the top layer is on, by means going up."""
        return self.upward(x)

    def features(self, x: Tensor) -> Tensor:
        """The pooling units of all layers side by side: what the paper gives to a classifier."""
        found = []
        for rbm in self.layers:
            x = rbm.encode(x)
            found.append(x)
        return torch.cat(found, 1)

    def decode(self, z: Tensor) -> Tensor:
        """The means of the pixels, by means going down from the top pooling units."""
        return self.downward(self.layers[-1].decode(z))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        generator: Generator = None,
        n_steps: int = 1000,
        n_down: int = 20,
        mean: bool = False,
        method: Literal["gibbs", "pt"] = "gibbs",
        n_replicas: int = 10,
    ) -> Tensor:
        """`n` pictures: `n_steps` sweeps of the top RBM, then `n_down` of each layer below with its blocks clamped.

        The top runs by `method` as for `RBM.sample`. With `condition`, chains go up by draws and down again, and put
        the known pixels back (`complete` with draws).
        """
        check_count("n", n, low=1)
        check_count("n_steps", n_steps, low=1)
        check_count("n_down", n_down, low=1)
        check_choice("method", method, CHAINS)
        if condition is not None:
            check(method == "gibbs", f'method must be "gibbs" with a condition. Got method={method!r}. Leave one out.')
            start = condition.apply(self.layers[0].visible_offset.expand(n, -1))
            return self._clamped(start, condition, n_steps, 1, generator)[0]
        alone = len(self.layers) == 1
        options: dict[str, Any] = {"n_steps": n_steps, "method": method, "n_replicas": n_replicas}
        a = self.layers[-1].sample(n, generator=generator, mean=mean and alone, **options)
        return a if alone else self._downward(a, n_down, generator)[int(mean)]

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int | None = None
    ) -> Tensor:
        """Fill the pixels of `x` where `known` is False with an average of their means given the rest.

        Each step goes up by draws, once through the top RBM and down by draws, and puts the known pixels back. For one
        layer it is the RBM's exact chain; for more the way up is a recognition model, hence an approximation.
        """
        n_average = to_average(n_steps, n_average)
        clamp = Clamp(x, known)
        check_clamp(self.layers[0].visible, clamp)
        start = clamp.apply(self.layers[0].visible_offset.expand_as(x))
        return clamp.apply(self._clamped(start, clamp, n_steps, n_average, generator)[1])

    # -- details ----------------------------------------------------------------------------------------------------

    def _clamped(
        self, x: Tensor, clamp: Clamp, n_steps: int, n_average: int, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """The last state of clamped chains, and the mean of their last `n_average` means."""
        total, top = torch.zeros_like(x), self.layers[-1]
        for step in range(n_steps):
            a = self.upward(x, n_layers=len(self.layers) - 1, sample=True, generator=generator)
            inputs = top.input_v_from_h(top.sample_h_from_v(a, generator))
            means = top.visible.mean(inputs)
            drawn = top.visible.draw(inputs, means, generator)
            if len(self.layers) > 1:
                drawn, means = self._downward(drawn, 1, generator)
            x = clamp.apply(drawn)
            if step >= n_steps - n_average:
                total += means
        return x, total / n_average

    def _downward(self, a: Tensor, n_down: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Pixels from the pooling units below the top, and the means that they were drawn from."""
        means = a
        for rbm in self.layers[-2::-1]:
            a, means = rbm.sample_given_pool(a, n_steps=n_down, generator=generator)
        return a, means

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"layers": [rbm.config() for rbm in self.layers]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        return cls([ConvolutionalRBM.from_config(layer) for layer in config["layers"]])


def train_convolutional(
    dbn: ConvolutionalDBN,
    source: BatchSource,
    settings: LearningSettings | Sequence[LearningSettings],
    *,
    trainer_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> list[TrainingRecord]:
    """Train the layers from the bottom to the top on draws of the pooling units below, in place.

    One `LearningSettings` for all layers, or one for each; ``learning`` is one of `RULES`. With `checkpoint_dir`, layer
    l is kept in ``layer-l/``, and `resume` goes on from there.
    """
    each = settings_of_each(settings, len(dbn.layers))
    records = []
    for index, (rbm, plan) in enumerate(zip(dbn.layers, each, strict=True)):
        check_choice("learning", plan.learning, RULES)
        check_no_groups(plan.to_dict(), "filters")
        inner = MappedSource(source, _Lift(dbn, index))
        folder, saved = of_layer(checkpoint_dir, index + 1, resume)
        if saved is None:
            start_layer(rbm, inner, make_generator(seed, rbm.filters.device, stream=index))
            if plan.sparsity_target:
                start_sparse(rbm, plan.sparsity_target)
        procedure = ConvolutionalLearning(
            rbm,
            make_negative(plan),
            learning_rate=plan.learning_rate,
            schedule=make_schedule(plan.schedule, 1.0),
            momentum=plan.momentum,
            optimizer=plan.optimizer,
            l2=plan.l2,
            l1=plan.l1,
            centred=plan.centred,
            offset_rate=plan.offset_rate,
            sparsity_target=plan.sparsity_target,
            sparsity_cost=plan.sparsity_cost,
        )
        options = {"seed": seed + index, "averaging": plan.averaging, **(trainer_options or {})}
        trainer = Trainer(epochs=plan.epochs, checkpoint_dir=folder, **options)
        records.append(trainer.fit(procedure, inner, resume_from=saved))
    return records


@torch.no_grad()
def start_sparse(rbm: ConvolutionalRBM, target: float) -> None:
    """Start the maps' biases where the mean activity of the detection units is `target` without any input.

    With biases of 0, four in five blocks of 2 x 2 are on, and the pull of a sparsity target takes long to change that.
    """
    rbm.hidden.match(torch.full_like(rbm.hidden.bias, target))
    rbm.hidden_offset.fill_(target)


class _Lift:
    """From pictures to what layer `index` sees: draws of the pooling units below it."""

    def __init__(self, dbn: ConvolutionalDBN, index: int) -> None:
        self.dbn, self.index = dbn, index

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        device = self.dbn.layers[0].filters.device
        if self.index and x.device != device:
            x, generator = x.to(device), spawn(generator, device)
        return self.dbn.upward(x, n_layers=self.index, sample=True, generator=generator)
