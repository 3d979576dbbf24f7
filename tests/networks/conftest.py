"""Files for ONNX: each export parses all of torch's operators anew, which takes longer than the rest of it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def operators_read_once() -> Iterator[None]:
    """The exports of a file of tests share one table of operators, where this version of onnxscript has it so."""
    with pytest.MonkeyPatch.context() as patch:
        table = importlib.import_module("onnxscript._framework_apis.torch_2_5")
        if hasattr(table, "get_torchlib_ops"):
            patch.setattr(table, "get_torchlib_ops", functools.cache(table.get_torchlib_ops))
        yield
