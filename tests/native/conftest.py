"""Every test of the kernels runs with each width of vectors that this processor has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deepbelief.native import library, products
from tests.native.widths import kernels_of, widths


@pytest.fixture(autouse=True, params=[8, 16])
def width(request: pytest.FixtureRequest) -> Iterator[int]:
    """The kernels of 8 numbers at once (as it is where there are none), or those of 16."""
    if request.param != 8 and request.param not in widths():
        pytest.skip(f"no kernels, or no vectors of {request.param} numbers here")
    with kernels_of(request.param):
        yield request.param


@pytest.fixture
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices that would not pay go by table too, and few draws by the kernels."""
    monkeypatch.setattr(library, "SMALLEST", 1)
    monkeypatch.setattr(products, "SMALLEST", 1)
    monkeypatch.setattr(products, "FEWEST", 8)
