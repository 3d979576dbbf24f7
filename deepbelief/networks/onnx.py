"""Export to ONNX, checked against onnxruntime before the file takes its name."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, check_range, missing_extra
from deepbelief.rng import make_generator
from deepbelief.storage import atomic_write_bytes


def export_onnx(
    module: nn.Module,
    path: str | Path,
    n_inputs: int,
    *,
    names: tuple[str, str] = ("x", "y"),
    method: str = "forward",
    check: bool = True,
) -> float:
    """Write ``module: (cases, n_inputs) -> (cases, ...)`` as an ONNX file for any number of cases.

    `method` names what is exported: "forward" of a network, "encode", "decode" or "reconstruct" of an RBM or a DBN.

    `names` are those of the input and the output in the file. Returns the largest absolute difference between the
    module's and onnxruntime's outputs on random cases in [0, 1) of several batch sizes (0.0 when not checked).
    Raises `MissingExtraError` without onnx, onnxruntime and onnxscript.

    >>> export_onnx(encoder, "encoder.onnx", 784, names=("v", "h"))  # doctest: +SKIP
    5.96e-08
    """
    check_range("n_inputs", n_inputs, low=1)
    if len(set(names)) != 2:
        raise InvalidArgumentError(f"names must be two different names. Got names={names!r}. Try ('x', 'y').")
    for library in ("onnx", "onnxscript", *(["onnxruntime"] if check else [])):
        _require(library)
    if not callable(getattr(module, method, None)):
        raise InvalidArgumentError(f"method must be one that the module has. Got method={method!r}. Use 'forward'.")
    module = module if method == "forward" else _Call(module, method)
    training = module.training
    module.eval()
    try:
        data = _to_bytes(module, n_inputs, names)
        difference = _largest_difference(module, data, n_inputs) if check else 0.0
    finally:
        module.train(training)
    atomic_write_bytes(path, data)
    return difference


class _Call(nn.Module):
    """A module whose forward pass is another method of the module inside."""

    def __init__(self, inner: nn.Module, method: str) -> None:
        super().__init__()
        self.inner, self.method = inner, method

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = getattr(self.inner, self.method)(x)
        return result


def _require(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise missing_extra(library, "onnx", "export_onnx") from error


def _to_bytes(module: nn.Module, n_inputs: int, names: Sequence[str]) -> bytes:
    """The exporter's file in memory. The example has three cases: one case would be taken for a constant."""
    cases = torch.export.Dim("cases", min=1)
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            module,
            (_example(module, 3, n_inputs),),
            dynamo=True,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_shapes=({0: cases},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of its own internals and of libraries that this one never uses."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _example(module: nn.Module, n: int, n_inputs: int) -> Tensor:
    like = next(module.parameters(), torch.zeros(0))
    x = torch.rand(n, n_inputs, generator=make_generator(n))
    return x.to(device=like.device, dtype=like.dtype)


@torch.no_grad()
def _largest_difference(module: nn.Module, data: bytes, n_inputs: int) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    worst = 0.0
    for n in (1, 2, 17):
        x = _example(module, n, n_inputs)
        (ours, theirs) = (module(x).cpu(), torch.from_numpy(session.run(None, {name: x.cpu().numpy()})[0]))
        worst = max(worst, float((ours - theirs).abs().max()))
    return worst
