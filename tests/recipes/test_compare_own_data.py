"""Comparisons on a person's own file: tables of real columns, of bits, pictures, and what then is n/a."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch

from deepbelief.cli.compare import command_of, draw
from deepbelief.cli.compare import compare as compare_verb
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError
from deepbelief.recipes.compare import able, compare
from deepbelief.recipes.compare_cases import Cases, standardized
from deepbelief.recipes.compare_data import read_cases
from deepbelief.recipes.compare_fit import given_half, reference_rows
from deepbelief.recipes.compare_settings import CompareSettings
from deepbelief.recipes.families import FAMILIES, build, usual_rate
from deepbelief.recipes.model_rows import LIKELIHOOD, can_be_judged, independent_row
from tests.report.test_page import Page

N = 320
MEASURED = (LIKELIHOOD, "coverage", "memorisation C_T", "linear probe accuracy", "completion squared error")


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three real columns on very different scales and a class, of which one row has none."""
    random = np.random.default_rng(0)
    side = random.integers(0, 2, N)
    rows = random.normal(side[:, None] * 2.0, 1.0, (N, 3)) * [1, 100, 0.01] + [5, -300, 0]
    path = tmp_path_factory.mktemp("own") / "flowers.csv"
    with path.open("w", newline="") as file:
        names = ["", *(("iris", "rose")[k] for k in side[1:])]
        csv.writer(file).writerows([["a", "b", "c", "kind"], *([*x, y] for x, y in zip(rows, names, strict=True))])
    return str(path)


def settings_of(path: str, **more: object) -> CompareSettings:
    return CompareSettings.quick(**{"data": path, "rates": (1.0,), **more})


def test_columns_are_standardized_by_the_training_cases_alone(flowers: str) -> None:
    cases = read_cases(settings_of(flowers, label="kind", most=N, most_test=N))
    assert (len(cases.train), len(cases.test), cases.bits, cases.channels_first) == (
        N * 7 // 10,
        N * 3 // 10,
        False,
        None,
    )
    torch.testing.assert_close(cases.train.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(cases.train.std(0, unbiased=False), torch.ones(3), atol=1e-4, rtol=0)
    assert float(cases.test.mean(0).abs().max()) > 1e-3
    assert cases.y is not None
    assert set(np.unique(cases.y)) <= {-1, 0, 1}
    assert cases.name == "flowers.csv, standardized"
    constant = torch.tensor([[1.0, 2.0], [1.0, 4.0]])
    assert standardized(constant, constant).tolist() == [[0.0, -1.0], [0.0, 1.0]]


def test_a_table_is_compared_and_what_needs_pictures_is_left_out(flowers: str, tmp_path: Path) -> None:
    names = ("rbm", "vae", "gan", "convolutional", "boltzmann", "dcgan")
    settings = settings_of(flowers, label="kind", models=names, most=300)
    rows = {(row.model, row.quantity): row for row in compare(settings, tmp_path / "c")}
    measured = {model for model, _ in rows}
    assert {"rbm", "vae", "gan", "held-out data", "raw inputs"} <= measured
    assert not {"convolutional", "boltzmann", "dcgan"} & measured
    for model in ("rbm", "vae"):
        for quantity in (
            LIKELIHOOD,
            "coverage",
            "memorisation C_T",
            "linear probe accuracy",
            "completion squared error",
        ):
            value = rows[model, quantity].value
            assert value is not None
            assert math.isfinite(value)
    page = Page(draw(tmp_path / "c").read_text(encoding="utf-8"))
    assert not page.mistakes
    assert not [tag for tag, _ in page.elements if tag == "img"]  # a table has no pictures
    text = " ".join(part for _, part in page.text)
    assert all(name in text for name in (*names, "flowers.csv, standardized", "n/a", "completion"))


def test_every_family_without_pictures_learns_real_columns(flowers: str) -> None:
    cases = read_cases(settings_of(flowers, label="kind", most=120))
    names = able(settings_of(flowers, models=tuple(FAMILIES)), cases)
    assert set(FAMILIES) - set(names) == {"convolutional", "dcgan", "boltzmann"}
    for name in names:
        family = FAMILIES[name]
        assert build(family, 4, 2, cases, 0).fit(cases.train.numpy()).n_features_in_ == 3
        assert usual_rate(family, 4, bits=False) <= 0.05


def test_independent_normal_columns_have_the_density_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randn(50, 2, generator=generator) * 3 + 1 for _ in range(2))
    mean, variance = train.double().mean(0), train.double().var(0, unbiased=False)
    wanted = -0.5 * ((test.double() - mean) ** 2 / variance + torch.log(2 * math.pi * variance)).sum(1).mean()
    row = independent_row(train, test, "d", bits=False)
    assert (row.value, row.kind) == (pytest.approx(float(wanted), abs=1e-9), "exact")


def test_too_few_cases_leave_sample_quality_out() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randn(n, 3, generator=generator) for n in (100, 79))
    few = Cases("few", train, None, test, None, None, bits=False)
    rows = reference_rows(few, [], generator)
    assert {row.model for row in rows} == {"independent units", "training mean", "10 nearest neighbours"}
    assert can_be_judged(replace(few, test=torch.cat([test, test[:1]])))


def test_bits_stay_bits_and_pictures_are_cut(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.save(tmp_path / "bits.npy", random.integers(0, 2, (40, 6)).astype(np.uint8))
    np.save(tmp_path / "pictures.npy", random.integers(0, 256, (40, 6, 6)).astype(np.uint8))
    bits = read_cases(settings_of(str(tmp_path / "bits.npy")))
    assert (bits.name, bits.bits, bits.channels_first, bits.y) == ("bits.npy, bits", True, None, None)
    pictures = read_cases(settings_of(str(tmp_path / "pictures.npy")))
    assert (pictures.name, pictures.channels_first) == ("pictures.npy, cut at 1/2", (1, 6, 6))
    assert set(np.unique(pictures.train.numpy())) == {0.0, 1.0}
    assert 0.4 < float(pictures.train.mean()) < 0.6


def test_colours_are_pictures_too_where_their_channels_come_first(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 3, 5, 4)).astype(np.uint8)
    np.save(tmp_path / "first.npy", pictures)
    np.save(tmp_path / "last.npy", pictures.transpose(0, 2, 3, 1))
    first, last = (read_cases(settings_of(str(tmp_path / f"{name}.npy"))) for name in ("first", "last"))
    assert (first.channels_first, last.channels_first) == ((3, 5, 4), None)
    assert able(settings_of("digits", models=("dcgan", "vae")), first) == ["dcgan", "vae"]
    for family in ("dcgan", "convolutional"):
        assert build(FAMILIES[family], 8, 1, first, 0).fit(first.train.numpy()).image_shape_ == (3, 5, 4)
    for cases, order in ((first, (3, 5, 4)), (last, (5, 4, 3))):
        upper = given_half(cases).view(order).float().movedim(order.index(5), 0).flatten(1).mean(1)
        assert upper.tolist() == [1, 1, 0, 0, 0]


def test_files_and_sets_are_told_apart_before_any_work(flowers: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="label and key are of files"):
        CompareSettings(data="digits", label="kind")
    with pytest.raises(DataNotFoundError, match="must exist"):
        compare(settings_of(str(tmp_path / "none.csv")), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_the_command_on_the_page_is_that_of_the_settings(flowers: str) -> None:
    settings = CompareSettings(data=flowers, label="kind", models=("rbm", "wgan-gp"), seeds=(3,), width=9, seconds=2.0)
    line = command_of(settings, "out")
    assert line.endswith("--models rbm,wgan-gp --label kind --seconds 2.0 --seeds 3 --width 9 --out out")
    assert " --quick" in command_of(CompareSettings.quick(), "out")


def test_the_help_and_the_guide_name_every_family() -> None:
    (option,) = get_type_hints(compare_verb, include_extras=True)["models"].__metadata__
    guide = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    assert set(re.findall(r"[a-z][a-z-]*[a-z]", option.help.split(":")[1])) == set(FAMILIES)
    assert all(f"`{name}`" in guide for name in FAMILIES)


def test_data_that_cannot_be_compared_leave_no_folder(tmp_path: Path) -> None:
    """So that the next try, with better data, may have its name."""
    (tmp_path / "few.csv").write_text("a,b\n1,2\n3,4\n")
    settings = CompareSettings(data=str(tmp_path / "few.csv"), models=("rbm",))
    with pytest.raises(InvalidDataError):
        compare(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()
