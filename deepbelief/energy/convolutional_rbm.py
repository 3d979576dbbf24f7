"""The convolutional RBM with probabilistic max-pooling: filters that are shared by all places of a picture.

    E(v, h) = U(v) - sum_k sum_ij h_kij ((F_k * v)_ij + c_k)          F(v) = U(v) - sum_blocks log(1 + sum exp(...))

The hidden layer holds one map of detection units for each filter. In every block of ``pool x pool`` of them at most one
is on, and a pooling unit says whether one is: means, samples and free energies stay exact. The visible biases belong to
their pixels, the hidden ones to their maps (learning keeps them equal within a map). Lee, Grosse, Ranganath & Ng 2009,
"Convolutional deep belief networks for scalable unsupervised learning of hierarchical representations".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from deepbelief.energy.coupled_layers import IndependentLayers
from deepbelief.energy.two_layers import TwoLayers
from deepbelief.errors import InvalidArgumentError, check, check_count, check_range
from deepbelief.protocols import Generator
from deepbelief.units.base import Units, check_layers
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.catalog import units_from_config
from deepbelief.units.pooled import Pooled


class ConvolutionalRBM(TwoLayers):
    """`n_filters` filters of ``filter_size x filter_size`` pixels over pictures (channels, height, width) in rows.

    Filters stay inside the picture, so each map has ``height - filter_size + 1`` rows, which `pool` must divide.
    `visible` are the units of a row of ``channels * height * width`` numbers; none means Bernoulli units.

    >>> rbm = ConvolutionalRBM((1, 6, 6), 2, 3, pool=2, generator=torch.Generator().manual_seed(0))
    >>> rbm.encode(torch.zeros(5, 36)).shape, rbm.pooled_shape
    (torch.Size([5, 8]), (2, 2, 2))
    """

    hidden: Pooled

    def __init__(
        self,
        image_shape: Sequence[int],
        n_filters: int,
        filter_size: int,
        *,
        pool: int = 2,
        visible: Units | None = None,
        weight_std: float = 0.01,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        self.image_shape = _checked_shape(image_shape)
        check_count("n_filters", n_filters, low=1)
        check_range("weight_std", weight_std, low=0)
        channels, height, width = self.image_shape
        check_count(
            "filter_size", filter_size, low=1, high=min(height, width), remedy=f"Pictures are {height} x {width}."
        )
        self.pool = pool
        rows, columns = height - filter_size + 1, width - filter_size + 1
        _check_pool(pool, rows, columns)
        size = channels * height * width
        self.visible = Bernoulli(size) if visible is None else visible
        check(
            self.visible.size == size, f"visible must have {size} units, those of a picture. Got {self.visible.size}."
        )
        self.maps_shape = (n_filters, rows, columns)
        self.pooled_shape = (n_filters, rows // pool, columns // pool)
        self.hidden = Pooled(n_filters * (rows // pool) * (columns // pool), pool * pool)
        check_layers(self.visible, self.hidden)
        shape = (n_filters, channels, filter_size, filter_size)
        self.filters = nn.Parameter(weight_std * torch.randn(shape, generator=generator))
        self.register_buffer("visible_offset", self.visible.mean(torch.zeros(1, size)).detach()[0])
        self.register_buffer("hidden_offset", self.hidden.mean(torch.zeros(1, self.hidden.size)).detach()[0])

    @property
    def weights(self) -> list[Tensor]:
        """The filters: (n_filters, channels, filter_size, filter_size)."""
        return [self.filters]

    # -- rows and pictures ------------------------------------------------------------------------------------------

    def pictures(self, v: Tensor) -> Tensor:
        """Rows as pictures: (n, n_visible) -> (n, channels, height, width)."""
        return v.unflatten(-1, self.image_shape)

    def maps(self, h: Tensor) -> Tensor:
        """Hidden rows, block by block, as maps: (n, n_hidden) -> (n, filters, rows, columns)."""
        k, rows, columns = self.pooled_shape
        return h.view(-1, k, rows, columns, self.pool, self.pool).transpose(3, 4).reshape(-1, *self.maps_shape)

    def rows(self, maps: Tensor) -> Tensor:
        """The inverse of `maps`."""
        k, rows, columns = self.pooled_shape
        return maps.reshape(-1, k, rows, self.pool, columns, self.pool).transpose(3, 4).flatten(1)

    # -- products ---------------------------------------------------------------------------------------------------

    def input_h_from_v(self, v: Tensor) -> Tensor:
        """What every detection unit gets from the pixels under its filter: (n, n_visible) -> (n, n_hidden)."""
        return self.rows(F.conv2d(self.pictures(v), self.filters)).to(self.hidden.bias.dtype)

    def input_v_from_h(self, h: Tensor) -> Tensor:
        """What every pixel gets from the filters over it: (n, n_hidden) -> (n, n_visible)."""
        return F.conv_transpose2d(self.maps(h), self.filters).flatten(1).to(self.hidden.bias.dtype)

    def filter_products(self, v: Tensor, h: Tensor) -> Tensor:
        """``sum over cases and places of v h``, the gradient of ``I(v).h`` in the filters: the shape of the filters."""
        return conv2d_weight(self.pictures(v), self.filters.shape, self.maps(h))

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """How likely each pooling unit is on: (n, n_visible) -> (n, filters * pooled places)."""
        return self.hidden.pool(self.mean_h_from_v(x))

    def decode(self, z: Tensor) -> Tensor:
        """The means of the pixels, the activity of each pooling unit spread evenly over its group."""
        return self.mean_v_from_h(z.repeat_interleave(self.hidden.group_size, -1) / self.hidden.group_size)

    @torch.no_grad()
    def sample_given_pool(self, on: Tensor, *, n_steps: int = 20, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """Pictures given which pooling units are on, (n, pooled places): draws, and the means that they came from.

        `n_steps` sweeps between the places of the detection units within their blocks, and the pixels.
        """
        check_count("n_steps", n_steps, low=1)
        inputs = on.new_zeros(len(on), self.hidden.size)
        for _ in range(n_steps):
            h = self.hidden.draw_given_pool(inputs, on, generator)
            inputs_v = self.input_v_from_h(h)
            mean = self.visible.mean(inputs_v)
            v = self.visible.draw(inputs_v, mean, generator)
            inputs = self.input_h_from_v(v)
        return v, mean

    def base(self) -> IndependentLayers:
        """Independent units with the means that the offsets remember: where annealing starts."""
        return self.independent()

    # -- storage ----------------------------------------------------------------------------------------------------

    def empty_like(self) -> Self:
        """A model of the same layers, type and device with parameters of its own."""
        return type(self).from_config(self.config()).to(self.filters)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        n_filters, _, filter_size, _ = self.filters.shape
        shape = {"image_shape": list(self.image_shape), "n_filters": n_filters, "filter_size": filter_size}
        return {**shape, "pool": self.pool, "visible": self.visible.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        options = {"pool": config["pool"], "visible": units_from_config(config["visible"]), "weight_std": 0.0}
        return cls(config["image_shape"], config["n_filters"], config["filter_size"], **options)


def _checked_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    for size in image_shape:
        check_count("every size of image_shape", size, low=1)
    shape = tuple(int(n) for n in image_shape)
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3:
        raise InvalidArgumentError(
            f"image_shape must be (channels, height, width), or (height, width). Got {tuple(image_shape)}."
        )
    return shape


def _check_pool(pool: int, rows: int, columns: int) -> None:
    check_count("pool", pool, low=1)
    if rows % pool or columns % pool:
        raise InvalidArgumentError(
            f"pool must divide the {rows} rows and {columns} columns of the maps (picture - filter_size + 1). "
            f"Got pool={pool}. Change filter_size by one, or use pool=1."
        )
