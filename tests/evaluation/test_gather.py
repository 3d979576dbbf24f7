"""A gallery of every kind of model holds what the report shows, and it holds together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.belief.untied import UntiedDBN
from deepbelief.energy.rbm import RBM
from deepbelief.errors import DeepBeliefError, InvalidDataError
from deepbelief.evaluation.gallery import Gallery
from deepbelief.evaluation.gather import GalleryBudget, as_states, class_probabilities, gather
from deepbelief.types import Bound
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.spin import Spin

SMALL = GalleryBudget(samples=5, samples_per_class=2, steps=10, chains=4, chains_shown=2, frames=3, cases=4, units=3)


def pictures(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 16, generator=generator), torch.randint(3, (n,), generator=generator)


@pytest.mark.parametrize("n_classes", [None, 3])
@pytest.mark.parametrize("with_network", [False, True])
def test_a_stack_with_and_without_labels(
    n_classes: int | None, with_network: bool, tmp_path: Path, generator: torch.Generator
) -> None:
    (train, y_train), (test, y_test) = pictures(40, generator), pictures(60, generator)
    dbn = DBN.of_sizes([16, 6, 5], n_classes, generator=generator)
    net = UnrolledDBN.from_dbn(dbn, 3, dropout=0.5, generator=generator) if with_network else None
    gallery = gather(
        dbn,
        train,
        test,
        title="stack",
        generator=generator,
        y_train=y_train,
        y_test=y_test,
        classifier=net,
        image_shape=(4, 4),
        class_names=["a", "b", "c"],
        histories={"layer 1": [{"epoch": 1, "loss": 2.0}]},
        budget=SMALL,
        description="a small stack",
    )
    assert gallery.description == "a small stack"
    assert gallery.bounds is not None
    assert {name: bound.kind for name, bound in gallery.bounds.items()} == {
        "1 layer": "exact",
        "2 layers": "lower_bound",
    }
    assert gallery.samples is not None
    assert gallery.samples.shape == (5, 16)
    assert (gallery.class_samples is None) == (n_classes is None)
    assert gallery.chains is not None
    assert gallery.chains.frames.shape == (2, 3, 16)
    assert gallery.filters is not None
    assert [len(f) for f in gallery.filters] == [3, 3]
    assert (gallery.confusion is None) == (n_classes is None and not with_network)
    if gallery.confusion is not None:
        assert gallery.confusion.sum() == 60
        assert gallery.confusion.sum(1).tolist() == torch.bincount(y_test, minlength=3).tolist()
        assert gallery.hard_cases is not None
        own = (torch.from_numpy(gallery.hard_cases.x)[:, None] == test[None]).all(2)
        assert (y_test[own.int().argmax(1)].numpy() == gallery.hard_cases.truth).all()
    again = Gallery.from_folder(gallery.to_folder(tmp_path / "gallery"))
    assert again.title == "stack"


def test_unknown_labels_are_left_out_of_the_confusion(generator: torch.Generator) -> None:
    (train, _), (test, y_test) = pictures(40, generator), pictures(30, generator)
    y_test[:10] = -1
    dbn = DBN.of_sizes([16, 4], 3, generator=generator)
    gallery = gather(dbn, train, test, title="t", generator=generator, y_test=y_test, budget=SMALL)
    assert gallery.confusion is not None
    assert gallery.confusion.sum() == 20


@pytest.mark.parametrize("kind", [Gaussian, Spin])
def test_an_rbm_of_other_units_on_a_table(kind: type[Gaussian] | type[Spin], generator: torch.Generator) -> None:
    x = torch.randn(60, 5, generator=generator)
    x = x.sign() if kind is Spin else x
    bounds = {"known": Bound(-3.0, "exact")}
    rbm = RBM(kind(5), 3, generator=generator)
    names = [f"column {i}" for i in range(5)]
    gallery = gather(
        rbm, x, x, title="t", generator=generator, feature_names=names, bounds=bounds, budget=SMALL, command="fit"
    )
    assert gallery.bounds == bounds
    assert gallery.layers == [
        {"name": "data", "units": 5, "kind": kind.kind},
        {"name": "layer 1", "units": 3, "kind": "bernoulli"},
    ]
    assert gallery.command == "fit"


def test_a_classifier_is_asked_without_dropout_and_left_as_it_was(generator: torch.Generator) -> None:
    dbn = DBN.of_sizes([16, 6], generator=generator)
    net = UnrolledDBN.from_dbn(dbn, 3, dropout=0.5, output_std=1.0, generator=generator).train()
    x, _ = pictures(10, generator)
    first, second = class_probabilities(dbn, net, x), class_probabilities(dbn, net, x)
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first.sum(1), torch.ones(10))
    assert net.training


def test_grey_levels_become_bits_with_their_probability(generator: torch.Generator) -> None:
    units = RBM(4, 2).visible
    levels = torch.tensor([[0.0, 1.0, 0.25, 0.75]]).expand(10_000, 4)
    bits = as_states(units, levels, generator)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    error = (0.25 * 0.75 / 10_000) ** 0.5
    assert (bits.mean(0) - levels[0]).abs().max() < 5.03 * error  # two columns, two-sided: 1e-6
    assert (as_states(units, bits, generator) == bits).all()
    thresholded = as_states(units, levels, generator, lambda x, _: (x > 0.5).float())
    assert thresholded[0].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_bad_input_is_refused_before_any_work(generator: torch.Generator) -> None:
    x = torch.zeros(4, 3)
    with pytest.raises(InvalidDataError, match="test must have shape"):
        gather(RBM(3, 2), x, torch.zeros(4, 2), title="t", generator=generator)
    with pytest.raises(InvalidDataError, match="same number of cases"):
        gather(RBM(3, 2), x, x, title="t", generator=generator, y_test=torch.zeros(3))
    with pytest.raises(DeepBeliefError, match="must be a DBN or an RBM"):
        gather(torch.nn.Linear(3, 2), x, x, title="t", generator=generator)  # type: ignore[arg-type]


def test_a_stack_with_ways_up_of_their_own(tmp_path: Path, generator: torch.Generator) -> None:
    (train, y_train), (test, y_test) = pictures(40, generator), pictures(60, generator)
    net = UntiedDBN.from_dbn(DBN.of_sizes([16, 6, 5], 3, generator=generator))
    with torch.no_grad():
        net.untied[0].recognition.add_(1.0)  # the pictures are of the way down
    labels = {"y_train": y_train, "y_test": y_test}
    gallery = gather(net, train, test, title="untied", generator=generator, budget=SMALL, **labels)
    assert gallery.bounds is not None
    assert list(gallery.bounds) == ["2 layers"]  # without the top the lower layer is no model
    assert gallery.filters is not None
    shown, own = torch.from_numpy(gallery.filters[0]), net.untied[0].generative.detach().T
    assert all((own == picture).all(1).any() for picture in shown)
    assert gallery.confusion is not None
    gallery.to_folder(tmp_path / "gallery")
