"""Variational autoencoders of dense and of convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from deepbelief.autoencoders.priors import PRIORS, ConditionalNormal, Mixture, Prior, StandardNormal, VampPrior
from deepbelief.autoencoders.vae import VAE
from deepbelief.errors import check, check_choice, check_count
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.parts import feed_forward
from deepbelief.units.base import Units

BETWEEN = [200]  # units between the condition and a conditional prior's law where convolutions give no sizes


def make_prior(
    kind: str,
    size: int,
    n_components: int,
    n_inputs: int,
    *,
    unit_interval: bool,
    n_condition: int = 0,
    hidden: Sequence[int] = (),
    network: str = "dense",
    activation: str = "auto",
    generator: torch.Generator | None,
) -> Prior:
    """A prior by name: "normal", "mixture", "vamp" or "conditional".

    The VampPrior's pseudo-inputs are `n_inputs` wide, the last `n_condition` of them a condition's; the conditional
    prior hangs on so many numbers through a `network` with `hidden` units.
    """
    check_choice("prior", kind, PRIORS)
    check(
        kind != "conditional" or n_condition > 0,
        "prior must be another than 'conditional' for a model without a condition. Got n_condition=0. "
        "Give the model a condition, or use prior='normal'.",
    )
    if kind == "normal":
        return StandardNormal(size)
    if kind == "mixture":
        return Mixture(size, n_components, generator=generator)
    if kind == "conditional":
        sizes: dict[str, Any] = {"output": 2 * size, "activation": activation, "generator": generator}
        return ConditionalNormal(size, n_condition, feed_forward(network, [n_condition, *hidden], **sizes))
    beside: dict[str, Any] = {"unit_interval": unit_interval, "n_beside": n_condition}
    return VampPrior(size, n_components, n_inputs, **beside, generator=generator)


def dense_vae(
    visible: Units,
    sizes: Sequence[int],
    *,
    hidden: Sequence[Sequence[int]],
    network: str = "dense",
    activation: str = "auto",
    prior: str = "normal",
    n_components: int = 500,
    n_condition: int = 0,
    generator: torch.Generator | None = None,
) -> VAE:
    """A VAE of fully connected networks; ``hidden[i]`` are the sizes between layer i of codes and what lies below.

    Burda et al.'s two layers are ``sizes=[100, 50], hidden=[[200, 200], [100, 100]]``. `network` is "dense" or
    "residual", whose layers add to what they got: see `ResidualNetwork`. A "conditional" prior has one more such
    network, from the condition through ``hidden[-1]`` to the law of the top codes.

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> dense_vae(Bernoulli(8), [4, 2], hidden=[[6], [5]]).sizes
    (4, 2)
    """
    _check_hidden(sizes, hidden)
    encoders, decoders = [], []
    for level, (size, between) in enumerate(zip(sizes, hidden, strict=True)):
        n_below = sizes[level - 1] if level else visible.size
        up, down = [n_below + n_condition, *between], [size + n_condition, *reversed(between)]
        options: dict[str, Any] = {"activation": activation, "generator": generator}
        encoders.append(feed_forward(network, up, output=2 * size, **options))
        decoders.append(feed_forward(network, down, output=2 * n_below if level else n_below, **options))
    more: dict[str, Any] = {"hidden": hidden[-1], "network": network, "activation": activation, "generator": generator}
    law = _prior_over(visible, sizes, prior, n_components, n_condition, **more)
    return VAE(visible, encoders, decoders, sizes, prior=law, n_condition=n_condition)


def convolutional_vae(
    visible: Units,
    size: int,
    shape: Sequence[int],
    *,
    channels: Sequence[int] = (32, 64),
    normalization: str = "none",
    activation: str = "auto",
    prior: str = "normal",
    n_components: int = 500,
    n_condition: int = 0,
    generator: torch.Generator | None = None,
) -> VAE:
    """A VAE of one layer of codes over pictures of `shape` (channels, height, width), by strided convolutions.

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> convolutional_vae(Bernoulli(63), 4, (1, 7, 9), channels=(4, 8)).sample(2).shape
    torch.Size([2, 63])
    """
    options: dict[str, Any] = {
        **{"channels": channels, "normalization": normalization},
        **{"activation": "silu" if activation == "auto" else activation, "generator": generator},
    }
    encoder = ConvolutionalEncoder(shape, 2 * size, n_extra=n_condition, **options)
    check(
        encoder.n_features == visible.size,
        f"shape must hold {visible.size} numbers, the visible units. Got shape={tuple(shape)}.",
    )
    decoder = ConvolutionalDecoder(size + n_condition, shape, **options)
    law = _prior_over(visible, [size], prior, n_components, n_condition, hidden=BETWEEN, generator=generator)
    return VAE(visible, [encoder], [decoder], [size], prior=law, n_condition=n_condition)


def _prior_over(visible: Units, sizes: Sequence[int], kind: str, n: int, n_condition: int, **more: Any) -> Prior:
    n_inputs = (sizes[-2] if len(sizes) > 1 else visible.size) + n_condition
    unit_interval = len(sizes) == 1 and visible.kind in ("bernoulli", "categorical")
    return make_prior(kind, sizes[-1], n, n_inputs, unit_interval=unit_interval, n_condition=n_condition, **more)


def _check_hidden(sizes: Sequence[int], hidden: Sequence[Sequence[int]]) -> None:
    check(len(sizes) >= 1, "sizes must name at least 1 layer of codes. Got none.")
    check(
        len(hidden) == len(sizes),
        f"hidden must have one list for each of the {len(sizes)} layers of codes. Got {len(hidden)}.",
    )
    for size in [*sizes, *(n for between in hidden for n in between)]:
        check_count("every size", size, low=1)
