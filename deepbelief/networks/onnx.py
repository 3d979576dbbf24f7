"""Export to ONNX, checked against onnxruntime before the file takes its name."""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.errors import DeepBeliefError, InvalidArgumentError, check_count, missing_extra
from deepbelief.rng import make_generator
from deepbelief.storage import atomic_write_bytes

WAYS = ("forward", "encode", "decode", "reconstruct", "generate")  # what models may be exported by


def export_onnx(
    module: nn.Module,
    path: str | Path,
    n_inputs: int,
    *,
    names: tuple[str, str] = ("x", "y"),
    method: str = "forward",
    also: Mapping[str, Tensor] | None = None,
    check: bool = True,
) -> float:
    """Write ``module: (cases, n_inputs) -> (cases, ...)`` as an ONNX file for any number of cases.

    `method` names what is exported: "forward" of a network, "encode", "decode" or "reconstruct" of a model with codes,
    "generate" of a GAN. `names` are those of the input and the output in the file.

    `also` are further inputs with a row for each case, by the method's own names for them: ``{"labels":
    torch.arange(10)}`` of a conditional GAN, ``{"condition": torch.eye(10)}`` of a conditional VAE. Their rows are
    examples of what they may be.

    Returns the largest absolute difference between the module's and onnxruntime's outputs on random cases in [0, 1) of
    several batch sizes (0.0 when not checked).
    Raises `MissingExtraError` without onnx, onnxruntime and onnxscript, and `InvalidArgumentError` for a method that is
    not there, that draws at random, or that torch cannot export.

    >>> export_onnx(encoder, "encoder.onnx", 784, names=("v", "h"))  # doctest: +SKIP
    5.96e-08
    """
    check_count("n_inputs", n_inputs, low=1)
    also = also or {}
    given = (*names, *also)
    if len(set(given)) != len(given) or len(names) != 2:
        raise InvalidArgumentError(f"names must be two different names. Got names={given!r}. Try ('x', 'y').")
    for library in ("onnx", "onnxscript", *(["onnxruntime"] if check else [])):
        _require(library)
    call = _Call(module, _method_of(module, method), tuple(also))
    training = module.training
    module.eval()
    try:
        examples = _Examples(module, n_inputs, tuple(also.values()))
        _check_repeats(call, examples, method)
        data = _to_bytes(call, examples, (names[0], *also), names[1])
        difference = _largest_difference(call, examples, data) if check else 0.0
    finally:
        module.train(training)
    atomic_write_bytes(path, data)
    return difference


def _method_of(module: nn.Module, method: str) -> str:
    """`method`, if the module has it; a module that has no forward pass of its own has torch's, which only raises."""
    missing = method == "forward" and type(module).forward is nn.Module.forward
    if missing or not callable(getattr(module, method, None)):
        known = " or ".join(repr(way) for way in WAYS if way != method and callable(getattr(module, way, None)))
        raise InvalidArgumentError(
            f"method must be one that the module has. Got method={method!r}. Use {known or 'a method of its own'}."
        )
    return method


def _check_repeats(call: _Call, examples: _Examples, method: str) -> None:
    """Refuse what is no function of its inputs: a file holds fixed operations."""
    rows = examples.rows(3)
    taken = " and ".join([f"(cases, {rows[0].shape[1]}) numbers", *call.also])
    remedy = "Give the method, n_inputs and also= that belong together."
    if next(iter(inspect.signature(getattr(call.inner, method)).parameters), "") == "n":
        raise InvalidArgumentError(f"method must take {taken}. {method!r} does not, but how many cases. {remedy}")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            first, second = call(*rows), call(*rows)
        except DeepBeliefError:
            raise
        except Exception as error:
            raise InvalidArgumentError(
                f"method must take {taken}. {method!r} does not: {_first_line(error)}. {remedy}"
            ) from error
    if not isinstance(first, Tensor) or len(first) != len(rows[0]) or not torch.equal(first, second):
        raise InvalidArgumentError(
            f"method must give one row for each case, the same each time. Got method={method!r}, which does not. "
            "Export the way that it draws from, such as 'encode', 'decode' or 'generate'."
        )


class _Examples:
    """Rows of random cases in [0, 1), beside further inputs whose rows repeat those that were given."""

    def __init__(self, module: nn.Module, n_inputs: int, further: tuple[Tensor, ...]) -> None:
        self.like, self.n_inputs = next(module.parameters(), torch.zeros(0)), n_inputs
        self.further = [rows.to(self.like.device) for rows in further]

    def rows(self, n: int) -> tuple[Tensor, ...]:
        """`n` cases, the same for one `n`."""
        x = torch.rand(n, self.n_inputs, generator=make_generator(n)).to(self.like)
        return x, *(rows[torch.arange(n, device=rows.device) % len(rows)] for rows in self.further)


class _Call(nn.Module):
    """A module whose forward pass is a method of the module inside; further inputs go to it by name."""

    def __init__(self, inner: nn.Module, method: str, also: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.inner, self.method, self.also = inner, method, also

    def forward(self, x: Tensor, *further: Tensor) -> Tensor:
        result: Tensor = getattr(self.inner, self.method)(x, **dict(zip(self.also, further, strict=True)))
        return result


def _require(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise missing_extra(library, "onnx", "export_onnx") from error


def _to_bytes(call: _Call, examples: _Examples, inputs: Sequence[str], output: str) -> bytes:
    """The exporter's file in memory. The example has three cases: one case would be taken for a constant."""
    cases = torch.export.Dim("cases", min=1)
    further = tuple({0: cases} for _ in inputs[1:])
    try:
        with torch.no_grad(), _quiet_exporter():
            program = torch.onnx.export(
                call,
                examples.rows(3),
                dynamo=True,
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=({0: cases}, further) if further else ({0: cases},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise InvalidArgumentError(
            f"{call.method} of a {type(call.inner).__name__} must be made of operations that torch can export. It is "
            f"not: {_first_line(error.__cause__ or error)}. Export the networks inside it that are."
        ) from error
    assert program is not None
    return program.model_proto.SerializeToString()


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of its own internals and of libraries that this one never uses."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx", "onnxscript")]
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


@torch.no_grad()
def _largest_difference(call: _Call, examples: _Examples, data: bytes) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    worst = 0.0
    for n in (1, 2, 17):
        rows = examples.rows(n)
        theirs = session.run(None, {name: row.cpu().numpy() for name, row in zip(names, rows, strict=True)})[0]
        worst = max(worst, float((call(*rows).cpu() - torch.from_numpy(theirs)).abs().max()))
    return worst
