"""Discrete variational autoencoders with an RBM or a DBN as their prior, of dense networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.bit_decoder import BitDecoder
from deepbelief.belief.rbm_vae import RBMVAE
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check, check_count
from deepbelief.networks.dense import DenseNetwork
from deepbelief.networks.parts import feed_forward
from deepbelief.networks.pixel_cnn import PixelCNN
from deepbelief.units.base import Units


def make_rbm_vae(
    visible: Units,
    n_bits: Sequence[int] = (64, 64),
    *,
    hidden: Sequence[int] = (200, 200),
    n_codes: int = 0,
    network: str = "dense",
    activation: str = "auto",
    pixels: PixelCNN | None = None,
    generator: torch.Generator | None = None,
) -> RBMVAE:
    """Networks with `hidden` units between data and bits, both ways; "dense" or "residual" ones.

    Two numbers of `n_bits` have an RBM as their prior; with more, lowest first, a DBN has its RBM over the last two.
    `n_codes` Gaussian numbers below the bits (0 for none) make ``p(x | s)`` a conditional VAE; `pixels` let each pixel
    hang on those before it as well (`BitDecoder`).

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> make_rbm_vae(Bernoulli(8), (4, 3), hidden=[6], n_codes=2).n_bits
    7
    """
    check_count("n_codes", n_codes, low=0)
    check(len(n_bits) >= 2, f"n_bits must be two numbers or more, one for each group. Got n_bits={tuple(n_bits)}.")
    for name, sizes in (("n_bits", n_bits), ("hidden", hidden)):
        for size in sizes:
            check_count(f"every size of {name}", size, low=1)
    check(not n_codes or pixels is None, f"pixels must be None with codes below. Got n_codes={n_codes}. Use 0.")
    options: dict[str, Any] = {"activation": activation, "generator": generator}
    rbm, n_all = RBM(n_bits[-2], n_bits[-1], generator=generator), sum(n_bits)
    inputs = [visible.size + sum(n_bits[:i]) for i in range(len(n_bits))]
    pairs = zip(inputs, n_bits, strict=True)
    encoders = [feed_forward(network, [n, *hidden], output=size, **options) for n, size in pairs]
    steps = list(itertools.pairwise(n_bits))[:-1]
    layers = [DenseNetwork((above,), output=size, generator=generator) for size, above in steps]
    if n_codes:
        vae = dense_vae(visible, [n_codes], hidden=[hidden], n_condition=n_all, network=network, **options)
        return RBMVAE(rbm, encoders, vae, layers)
    n_outputs = visible.size * (1 if pixels is None else pixels.maps)
    decoder = feed_forward(network, [n_all, *reversed(hidden)], output=n_outputs, **options)
    return RBMVAE(rbm, encoders, BitDecoder(visible, decoder, n_all, pixels), layers)
