"""Kernels for GPUs on a CPU, by Triton's interpreter: the same source, one block after another, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from deepbelief.native import gpu


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors on the CPU count as a GPU's, and few of them are enough."""
    pytest.importorskip("triton", reason="Triton has no build for this system")
    monkeypatch.setattr(
        gpu, "on_gpu", lambda x: type(x) in (Tensor, torch.nn.Parameter) and x.dtype is not torch.double
    )
    monkeypatch.setattr(gpu, "SMALLEST", 1)
    gpu._works.cache_clear()
    yield
    gpu._works.cache_clear()
