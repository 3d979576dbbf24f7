"""Filters, drivers and pictures of small stacks against loops."""

from __future__ import annotations

import pytest
import torch

from deepbelief.belief.dbn import DBN
from deepbelief.data.masks import half_mask
from deepbelief.evaluation.codes import code_map
from deepbelief.evaluation.filters import layer_filters, projected_filters, shown_units, unit_drivers, unit_inputs
from deepbelief.evaluation.pictures import (
    chain_frames,
    class_samples,
    completions,
    geometric_steps,
    half_masks,
    picture_half,
    reconstructions,
)
from tests.oracle.zoo import random_dbn


@pytest.mark.parametrize("n_classes", [None, 3])
def test_higher_filters_are_weighted_averages_of_lower_ones(n_classes: int | None, generator: torch.Generator) -> None:
    dbn = random_dbn([6, 4, 3], generator, n_classes)
    first, second = projected_filters(dbn)
    torch.testing.assert_close(first, dbn.layers[0].weight.T)
    for unit in range(3):
        weights = dbn.layers[1].weight[:4, unit]
        expected = sum(w * f for w, f in zip(weights, first, strict=True)) / weights.abs().sum()
        torch.testing.assert_close(second[unit], expected)


def test_labels_beside_the_data_are_no_part_of_a_filter(generator: torch.Generator) -> None:
    dbn = random_dbn([6, 4], generator, n_classes=3)
    torch.testing.assert_close(projected_filters(dbn)[0], dbn.top.weight[:6].T)


def test_the_strongest_units_are_shown_first(generator: torch.Generator) -> None:
    dbn = random_dbn([6, 5], generator)
    norms = dbn.top.weight.norm(dim=0)
    assert shown_units(dbn, 0, 5).tolist() == [0, 1, 2, 3, 4]
    assert norms[shown_units(dbn, 0, 2)].tolist() == norms.sort(descending=True).values[:2].tolist()
    filters, notes = layer_filters(dbn, most=2)
    assert filters[0].shape == (2, 6)
    assert "2 of 5 units" in notes[0]


@pytest.mark.parametrize("n_classes", [None, 3])
def test_drivers_are_the_cases_with_the_largest_input(n_classes: int | None, generator: torch.Generator) -> None:
    dbn, x = random_dbn([6, 4, 5], generator, n_classes), torch.rand(20, 6, generator=generator)
    first, second = unit_drivers(dbn, x, n_units=2, k=3)
    assert first is None
    assert second is not None
    assert second.shape == (2, 3, 6)
    mean = dbn.encode(x)
    torch.testing.assert_close(dbn.top.hidden.mean(unit_inputs(dbn, x, 1)), mean)
    for unit in range(2):
        expected = x[mean[:, unit].argsort(descending=True)[:3]]
        torch.testing.assert_close(torch.from_numpy(second[unit]), expected)


def test_steps_grow_geometrically() -> None:
    assert geometric_steps(1, 5) == [0, 1]
    assert geometric_steps(100, 2) == [0, 100]
    assert geometric_steps(16, 6) == [0, 1, 2, 4, 8, 16]


@pytest.mark.parametrize("sizes", [[6, 4], [6, 5, 4]])
@pytest.mark.parametrize("n_classes", [None, 2])
def test_chains_start_at_their_cases(sizes: list[int], n_classes: int | None, generator: torch.Generator) -> None:
    dbn = random_dbn(sizes, generator, n_classes)
    x = torch.randint(2, (3, 6), generator=generator).float()
    frames = chain_frames(dbn, x, [0, 1, 4], generator=generator)
    assert frames.shape == (3, 3, 6)
    torch.testing.assert_close(frames[:, 0], x)
    assert ((frames > 0) & (frames < 1))[:, 1:].all()  # means, not draws


def test_samples_of_a_class_follow_their_label(generator: torch.Generator) -> None:
    dbn = DBN.of_sizes([4, 3], n_classes=2, generator=generator)
    with torch.no_grad():  # one hidden unit joins label 1 with all pixels on, and label 0 with all off
        dbn.top.weight.zero_()
        dbn.top.weight[:, 0] = torch.tensor([40.0, 40.0, 40.0, 40.0, -400.0, 400.0])
        dbn.layers[0].visible.part(0).bias.fill_(-20.0)  # type: ignore[operator]
    found = class_samples(dbn, 3, 5, generator=generator)
    assert found is not None
    assert found.shape == (2, 3, 4)
    assert found[0].max() < 1e-6
    assert found[1].min() > 1 - 1e-6
    assert class_samples(DBN.of_sizes([4, 3]), 3, 5, generator=generator) is None


def test_halves_of_pictures_and_of_tables(generator: torch.Generator) -> None:
    masks = half_masks(3, 16, (4, 4), generator)
    assert (masks[0] == half_mask((4, 4), "left")).all()
    assert (masks[1] == masks[0]).all()
    assert (masks[2] == half_mask((4, 4), "top")).all()
    assert half_masks(5, 8, None, generator).sum(1).tolist() == [4] * 5
    first, last = picture_half((3, 2, 4), "left").view(3, 2, 4), picture_half((2, 4, 3), "left").view(2, 4, 3)
    assert (first.permute(1, 2, 0) == last).all()


def test_completions_keep_what_is_known_and_see_nothing_else(generator: torch.Generator) -> None:
    dbn, x = random_dbn([16, 4, 3], generator), torch.randint(2, (4, 16), generator=generator).float()
    state = generator.get_state()
    one = completions(dbn, x, (4, 4), generator=generator)
    known = torch.from_numpy(one.known)
    generator.set_state(state)
    other = completions(dbn, torch.where(known, x, 1 - x), (4, 4), generator=generator)
    assert (one.completed[one.known] == x.numpy()[one.known]).all()
    assert (one.completed == other.completed).all()


def test_reconstructions_are_the_models_own(generator: torch.Generator) -> None:
    dbn, x = random_dbn([6, 4, 3], generator), torch.rand(4, 6, generator=generator)
    found = reconstructions(dbn, x)
    assert (found.original == x.numpy()).all()
    torch.testing.assert_close(torch.from_numpy(found.reconstruction), dbn.decode(dbn.encode(x)).detach())


def test_a_map_of_few_codes_keeps_their_distances(generator: torch.Generator) -> None:
    plane = torch.randn(20, 2, generator=generator).double()
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator).double()).Q[:2]
    found = code_map(plane @ turn, torch.arange(20), generator=generator)
    assert "principal components" in found.method
    torch.testing.assert_close(torch.pdist(torch.from_numpy(found.points)), torch.pdist(plane))
    assert found.labels is not None
    assert found.labels.tolist() == list(range(20))


def test_a_map_of_one_column_has_two() -> None:
    generator = torch.Generator().manual_seed(0)
    assert code_map(torch.arange(5.0)[:, None], generator=generator).points.shape == (5, 2)


def test_tsne_keeps_far_groups_apart_and_labels_with_their_points(generator: torch.Generator) -> None:
    y = torch.arange(120) % 2
    codes = 100.0 * y[:, None] + torch.randn(120, 40, generator=generator)
    found = code_map(codes, y, generator=generator, most=60)
    assert found.method.startswith("t-SNE")
    assert found.points.shape == (60, 2)
    assert found.labels is not None
    points, labels = torch.from_numpy(found.points), torch.from_numpy(found.labels)
    distances = torch.cdist(points, points).fill_diagonal_(float("inf"))
    assert (labels[distances.argmin(1)] == labels).all()
