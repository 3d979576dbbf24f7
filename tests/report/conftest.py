"""A gallery with everything in it, as images and as a table."""

import numpy as np
import pytest

from deepbelief.evaluation.gallery import Chains, CodeMap, Completions, Gallery, HardCases, Reconstructions
from deepbelief.report.page import render_report
from deepbelief.types import Bound, Result

FEATURES = 12
NAMES = [f"column {i}" for i in range(FEATURES)]


def full_gallery(**changes) -> Gallery:
    """Three classes of 3 x 4 pictures; every field is filled."""
    rng = np.random.default_rng(0)
    x = rng.random((6, FEATURES))
    values = {
        "title": "A small gallery",
        "description": "Random numbers.",
        "created": "1 May 2026",
        "command": "deepbelief train --data digits",
        "settings": {"layers": [{"units": 5, "kind": "bernoulli"}], "rate": 0.1, "dropout": None},
        "data_facts": {"training_cases": 1400, "binarized": True, "sizes": [3, 4]},
        "layers": [{"name": "pixels", "units": 12, "kind": "Bernoulli"}, {"name": "layer 1", "units": 5}],
        "results": [
            Result("log_likelihood", -14.62, "lower_bound", 0.034, "nats", "digits, test", "DBN"),
            Result("test_error", 2.5, "measured", None, "%", "digits, test", "DBN"),
            Result("log_likelihood", None, "estimate", None, "nats", "digits, test", "GAN"),
        ],
        "headline": ["test_error"],
        "histories": {
            "layer 1": [
                {
                    "epoch": i,
                    "step": i * 10,
                    "seconds": 0.5 * i,
                    "loss": 1 / i,
                    "validation_loss": None if i < 3 else 1.0,
                }
                for i in range(1, 6)
            ],
            "fine-tuning": [{"epoch": 1, "step": 10, "seconds": 80.0, "loss": float("nan"), "accuracy": 0.5}],
        },
        "bounds": {"RBM": Bound(-15.0, "estimate", 0.1, "annealing", -15.4, -14.9), "DBN": Bound(-14.6, "lower_bound")},
        "image_shape": (3, 4),
        "class_names": ["zero", "one", "two"],
        "filters": [rng.normal(size=(5, FEATURES)), rng.normal(size=(4, FEATURES))],
        "filter_notes": ["Weights on the pixels."],
        "drivers": [None, rng.random((4, 3, FEATURES))],
        "samples": rng.random((7, FEATURES)),
        "class_samples": rng.random((3, 2, FEATURES)),
        "chains": Chains(rng.random((2, 4, FEATURES)), np.array([0, 1, 10, 100])),
        "completions": Completions(x, rng.random(x.shape) > 0.5, x[::-1]),
        "reconstructions": Reconstructions(x, x[::-1]),
        "confusion": np.array([[5, 1, 0], [0, 6, 0], [2, 0, 4]]),
        "hard_cases": HardCases(x[:2], np.array([0, 1]), np.array([2, 0]), np.array([0.9, 0.6])),
        "code_map": CodeMap(rng.normal(size=(6, 2)), np.array([0, 1, 2, 0, 1, -1]), "principal components"),
        "advice": ["Train for longer."],
    }
    return Gallery(**{**values, **changes})


@pytest.fixture(params=["images", "table"], scope="session")
def data_kind(request: pytest.FixtureRequest) -> str:
    """The kind of data that the gallery shows."""
    return request.param


@pytest.fixture
def gallery(data_kind: str) -> Gallery:
    """A fresh full gallery."""
    return full_gallery() if data_kind == "images" else full_gallery(image_shape=None, feature_names=NAMES)


@pytest.fixture(scope="session")
def html(data_kind: str) -> str:
    """The page of the full gallery, drawn once."""
    return render_report(
        full_gallery() if data_kind == "images" else full_gallery(image_shape=None, feature_names=NAMES)
    )
