"""The kernels of narrower vectors on a processor that has wider ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deepbelief.native.library import library


def widths() -> list[int]:
    """The widths of vectors that products of bits can take here."""
    widest = library()
    return [] if widest is None else [lanes for lanes in (8, 16) if lanes <= widest.lanes]


@contextmanager
def kernels_of(lanes: int) -> Iterator[None]:
    """Those of 8 numbers instead of the widest."""
    with pytest.MonkeyPatch.context() as patch:
        if lanes == 8:
            patch.setenv("DEEPBELIEF_NATIVE", "8")
        library.cache_clear()
        yield
    library.cache_clear()


built = pytest.mark.skipif(not widths(), reason="no C kernels, or no wide vectors here")
