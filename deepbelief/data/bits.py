"""Binary data kept as bits, eight to a byte in `numpy.packbits`' order, and the way back batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import check, check_count


def check_packed(packed: int, width: int, is_bytes: bool) -> None:
    """Refuse rows that cannot be `packed` bits."""
    check_count("packed", packed, low=1)
    check(is_bytes, "X must hold bytes for packed bits. Got another type. Make them by np.packbits(X, axis=1).")
    need = -(-packed // 8)
    check(
        width == need,
        f"X must have {need} bytes a case for packed={packed} bits. Got {width}. See np.packbits(axis=1).",
    )


def unpack(rows: Tensor, n: int) -> Tensor:
    """The first `n` bits of each row of bytes, as bytes of 0 and 1: (cases, bytes) -> (cases, n).

    >>> unpack(torch.tensor([[0b10100000]], dtype=torch.uint8), 3)
    tensor([[1, 0, 1]], dtype=torch.uint8)
    """
    if rows.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(rows.numpy(), axis=1, count=n))
    return _by_shifts(rows, n)


def _by_shifts(rows: Tensor, n: int) -> Tensor:
    """The same where NumPy does not reach."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=rows.device)
    return ((rows.unsqueeze(-1) >> shifts) & 1).flatten(1)[:, :n]
