"""Spectral normalisation: a layer's weights over their largest singular value (Miyato et al. 2018)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations


def with_unit_norm(layer: nn.Module, generator: torch.Generator | None) -> nn.Module:
    """`layer` with ``W / sigma(W)`` in place of W: one step of the power iteration in each pass of training."""
    seed = int(torch.randint(1 << 31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):  # the power iteration starts at random and takes no generator
        torch.manual_seed(seed)
        return parametrizations.spectral_norm(layer)
