"""The estimator of a CycleGAN: two sets, two ways, sentences, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbelief import CycleGAN, load_estimator
from deepbelief.errors import InvalidArgumentError, InvalidDataError

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(5, 2, (90, 3)), RANDOM.normal(-100, 30, (70, 2))
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "random_state": 0}
PICTURES: dict[str, Any] = {"network": "convolutional", "channels": (3,), "epochs": 2, "random_state": 0}
GREY, COLOUR = RANDOM.random((60, 6, 5)), RANDOM.random((40, 3, 4, 8))


def test_each_set_keeps_its_own_scale() -> None:
    model = CycleGAN(epochs=60, **SMALL).fit(X, Y)
    assert (np.abs(model.transform(X).mean(0) - Y.mean(0)) < Y.std(0)).all()
    assert (np.abs(model.inverse_transform(Y).mean(0) - X.mean(0)) < X.std(0)).all()


def test_labels_of_two_kinds_divide_the_cases() -> None:
    both = np.concatenate([X, X + 7])
    labels = np.repeat(["a", "b"], len(X))
    divided = CycleGAN(epochs=1, **SMALL).fit(both, labels).transform(X)
    assert np.array_equal(divided, CycleGAN(epochs=1, **SMALL).fit(X, X + 7).transform(X))


def test_values_in_the_unit_interval_stay_there() -> None:
    model = CycleGAN(epochs=1, **SMALL).fit(RANDOM.random((40, 3)), RANDOM.random((30, 2)))
    made = model.transform(RANDOM.random((5, 3)))
    assert 0 <= made.min() <= made.max() <= 1
    assert model.mean_ is None


def test_pictures_of_two_shapes_are_translated_and_saved(tmp_path: Path) -> None:
    model = CycleGAN(**PICTURES).fit(GREY, COLOUR)
    assert (model.image_shape_, model.image_shape_of_y_) == ((1, 6, 5), (3, 4, 8))
    there, back = model.transform(GREY), model.inverse_transform(COLOUR)
    assert (there.shape, back.shape) == ((60, 96), (40, 30))
    assert 0 <= there.min() <= there.max() <= 1
    again = load_estimator(model.save(tmp_path / "model"))
    assert (again.image_shape_, again.image_shape_of_y_) == ((1, 6, 5), (3, 4, 8))
    assert np.array_equal(there, again.transform(GREY))
    assert np.array_equal(back, again.inverse_transform(COLOUR))


def test_flat_rows_are_pictures_of_the_shapes_that_were_given() -> None:
    of_pictures = CycleGAN(**PICTURES).fit(GREY, COLOUR).transform(GREY)
    x, y = GREY.reshape(60, -1), COLOUR.reshape(40, -1)
    flat = CycleGAN(**PICTURES, image_shape=(6, 5), image_shape_of_y=(3, 4, 8)).fit(x, y)
    assert np.array_equal(flat.transform(x), of_pictures)
    alike = CycleGAN(**PICTURES, image_shape=(5, 6)).fit(x, x[:30])
    assert alike.image_shape_of_y_ == (1, 5, 6)
    labelled = CycleGAN(**PICTURES).fit(GREY, np.arange(60) % 2)
    assert labelled.image_shape_of_y_ == (1, 6, 5)


def test_averages_translate_where_they_are_asked_for() -> None:
    plain, averaged = (
        CycleGAN(epochs=3, schedule="constant", averaging=decay, **SMALL).fit(X, Y) for decay in (0.0, 0.9)
    )
    assert plain.history_[-1]["critic_loss"] == averaged.history_[-1]["critic_loss"]  # they learn alike
    assert np.abs(plain.transform(X) - averaged.transform(X)).max() > 1e-3
    module = averaged.module_
    assert not any(p.requires_grad for p in (*module.averaged_there.parameters(), *module.averaged_back.parameters()))


@pytest.mark.parametrize("more", [{}, {"averaging": 0.9}, {"averaging": 0.9, "network": "convolutional"}])
def test_resumed_is_never_stopped(more: dict[str, Any], tmp_path: Path) -> None:
    settings = {"schedule": "constant", "channels": (3,), **SMALL, **more}
    whole = CycleGAN(epochs=3, **settings).fit(X, Y)
    CycleGAN(epochs=1, checkpoint_dir=tmp_path, **settings).fit(X, Y)
    again = CycleGAN(epochs=3, **settings).fit(X, Y, resume_from=tmp_path)
    assert np.array_equal(whole.transform(X), again.transform(X))
    assert np.array_equal(whole.inverse_transform(Y), again.inverse_transform(Y))


def test_what_does_not_fit_gets_a_sentence() -> None:
    with pytest.raises(InvalidDataError, match="labels of two kinds"):
        CycleGAN(epochs=1).fit(X, None)
    with pytest.raises(InvalidDataError, match="Got 90 of 90 kinds"):
        CycleGAN(epochs=1).fit(X, np.arange(90))
    with pytest.raises(InvalidDataError, match="must have 2 columns"):
        CycleGAN(epochs=1, **SMALL).fit(X, Y).inverse_transform(X)
    with pytest.raises(InvalidDataError, match="different widths"):
        CycleGAN(epochs=1, identity=1.0, **SMALL).fit(X, Y)
    with pytest.raises(InvalidDataError, match="image_shape_of_y must hold 96 pixels, the columns of y"):
        CycleGAN(**PICTURES, image_shape_of_y=(4, 8)).fit(GREY, COLOUR)
    with pytest.raises(InvalidDataError, match=r"Use y.transpose\(0, 3, 1, 2\), or give image_shape_of_y"):
        CycleGAN(**PICTURES).fit(GREY, RANDOM.random((9, 5, 8, 3)))
    for wrong, sentence in (
        ({"network": "convolution"}, "network must be one of"),
        ({"averaging": 1.0}, "averaging must"),
    ):
        with pytest.raises(InvalidArgumentError, match=sentence):
            CycleGAN(**SMALL, **wrong).fit(X, Y)
