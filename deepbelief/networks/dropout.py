"""Dropout by our own draws: torch's draw of a mask costs a network on a CPU more than its matrix products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepbelief.native.draws import bernoulli


class Dropout(nn.Dropout):
    """Each number is 0 with probability `p` and ``x / (1 - p)`` otherwise, in training; left as it is in evaluation.

    The law of ``torch.nn.Dropout`` by other numbers (Srivastava et al. 2014). On a CPU a mask is drawn by the
    kernels (``benchmarks/fine_tuning.py``); small tensors and other devices are left to torch. The masks depend on
    torch's global generator alone (one number keys a mask), not on the number of threads.

    >>> import torch
    >>> Dropout(0.5).eval()(torch.ones(2, 3)).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu" or not x.is_floating_point():
            return super().forward(x)
        kept = bernoulli(torch.full(x.shape, 1 - self.p, dtype=torch.float32), None)
        # the factor is no number of bfloat16, so it is not in the mask
        return super().forward(x) if kept is None else x * kept.to(x.dtype) * (1 / (1 - self.p))
