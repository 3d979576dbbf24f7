"""Every saved model says which of its ways are functions of rows, and one of them leaves by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deepbelief.cli.main import app
from deepbelief.errors import InvalidArgumentError
from deepbelief.recipes.export_model import export_model, ways_of
from deepbelief.storage import MODELS, save_model
from tests.contracts import wings
from tests.contracts.test_saved_models import MADE

NONE = {"ConditionalRBM", "RatingsRBM", "DenseNetwork", "ConvolutionalEncoder", "ConvolutionalDecoder"}


def call(model: Any, way: Any) -> torch.Tensor:
    rows = {name: rows[torch.arange(3) % len(rows)] for name, rows in way.also.items()}
    x = torch.rand(3, way.n_inputs, generator=wings.stream(3)).to(next(model.parameters()))
    with torch.no_grad():
        return getattr(model, way.method)(x, **rows)


@pytest.mark.parametrize("name", MADE)
def test_every_way_takes_rows_of_its_width(name: str) -> None:
    model = MADE[name]().eval()
    ways = ways_of(model)
    assert bool(ways) != (type(model).__name__ in NONE)
    for way in ways.values():
        assert len(call(model, way)) == 3


def test_the_exceptions_are_models() -> None:
    assert set(MODELS) > NONE


@pytest.mark.parametrize(
    ("make", "way", "sentence"),
    [
        (wings.there_and_back, "generate", "--way must be one of 'encode', 'decode'. Got --way='generate'"),
        (MADE["conditional rbm"], None, "MODEL must have a way that is a function of rows.*Got a ConditionalRBM"),
    ],
)
def test_what_cannot_leave_is_told(make: Callable[[], Any], way: str | None, sentence: str, tmp_path: Path) -> None:
    save_model(make(), tmp_path / "model")
    with pytest.raises(InvalidArgumentError, match=sentence):
        export_model(tmp_path / "model", tmp_path / "x.onnx", way)


def test_a_conditional_gan_leaves_by_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    from typer.testing import CliRunner

    save_model(wings.WINGS["gan, lsgan, conditional"].make(), tmp_path / "model")
    words = ["export", str(tmp_path / "model"), "--out", str(tmp_path / "gan.onnx"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["inputs"] == {"z": 2, "labels": 1}
    assert told["largest_difference"] < 1e-5
    session = runtime.InferenceSession(tmp_path / "gan.onnx")
    assert [given.name for given in session.get_inputs()] == ["z", "labels"]
