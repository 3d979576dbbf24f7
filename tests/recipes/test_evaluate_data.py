"""The cases that samples are judged by: how a file is divided, and how samples and data come to one kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deepbelief.data.order import holdout
from deepbelief.data.sets import load_set
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.recipes.evaluate_data import HALVED, Given, one_kind, read_given, read_samples
from deepbelief.recipes.fit_model import FitSettings, fit_model
from deepbelief.recipes.run_data import load_run_data
from deepbelief.recipes.settings import DataSettings, ModelSettings, RunSettings, write_settings
from tests.oracle.pvalues import FALSE_ALARM, means_p_value


def rows_of(x: torch.Tensor) -> set[bytes]:
    return {row.tobytes() for row in x.float().numpy()}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cases") / "table.npy"
    np.save(path, np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32))
    return path


def test_a_set_brings_its_own_test_cases() -> None:
    given = read_given("digits", most=150)
    train, test = load_set("digits"), load_set("digits", split="test")
    assert (len(given.train), len(given.test), given.image_shape) == (150, 150, (8, 8))
    assert rows_of(given.train) <= rows_of(train.scaled())
    assert rows_of(given.test) <= rows_of(test.scaled())
    assert given.y is not None
    where = {row.tobytes(): int(y) for row, y in zip(train.scaled().numpy(), train.y, strict=True)}  # type: ignore[arg-type]
    assert [where[row.tobytes()] for row in given.train.numpy()] == given.y.tolist()  # rows keep their labels


def test_a_file_is_halved_and_this_is_told(table: Path) -> None:
    given = read_given(str(table))
    assert (len(given.train), len(given.test), given.division) == (100, 100, HALVED)
    assert not rows_of(given.train) & rows_of(given.test)


def test_a_second_file_is_what_is_new(table: Path, tmp_path: Path) -> None:
    new = np.ones((90, 3), dtype=np.float32)
    np.save(tmp_path / "new.npy", new)
    given = read_given(str(table), held_out=str(tmp_path / "new.npy"))
    assert (len(given.train), given.test.tolist()) == (200, new.tolist())
    np.save(tmp_path / "wide.npy", np.ones((90, 4), dtype=np.float32))
    with pytest.raises(InvalidDataError, match=r"wide\.npy must have 3 columns"):
        read_given(str(table), held_out=str(tmp_path / "wide.npy"))
    with pytest.raises(InvalidArgumentError, match="test cases of its own"):
        read_given("digits", held_out=str(table))


def test_a_run_knows_what_it_kept_back(table: Path, tmp_path: Path) -> None:
    arguments = {"epochs": 1, "hidden_layer_sizes": [4], "n_components": 2}
    fit_model(FitSettings("VAE", str(table), held_out=0.45, seed=7, arguments=arguments), tmp_path / "fit")
    kept, held = holdout(200, 0.45, seed=7)
    x = torch.from_numpy(np.load(table))
    for run in (tmp_path / "fit", tmp_path / "fit" / "model"):
        given = read_given(str(table), run=run)
        assert rows_of(given.train) == rows_of(x[kept])
        assert rows_of(given.test) == rows_of(x[held])
        assert given.division == "New cases: the 90 that the run kept back."
    np.save(tmp_path / "other.npy", np.load(table))
    assert read_given(str(tmp_path / "other.npy"), run=tmp_path / "fit").division == HALVED


def test_a_run_of_train_divides_its_file_as_it_did(table: Path, tmp_path: Path) -> None:
    data = DataSettings(name=str(table), test_fraction=0.3, preparation="standardize")
    plan = RunSettings(data=data, model=ModelSettings(visible="gaussian", layers=[2]))
    write_settings(plan, tmp_path / "settings.yaml")
    wanted = load_run_data(plan, progress=False)
    given = read_given(str(table), wanted.preparation, run=tmp_path)
    assert (len(given.train), len(given.test)) == (140, 60)
    assert rows_of(given.test) == rows_of(wanted.test)
    torch.testing.assert_close(given.train.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    new = np.load(table)[:90] + 1  # another file is read as the model's own was
    np.save(tmp_path / "new.npy", new)
    other = read_given(str(table), wanted.preparation, run=tmp_path, held_out=str(tmp_path / "new.npy"))
    torch.testing.assert_close(other.test, wanted.preparation.values(torch.from_numpy(new)))


def given_of(train: torch.Tensor, test: torch.Tensor | None = None) -> Given:
    return Given("d", train, None, train if test is None else test, None)


def test_one_kind_is_that_of_the_samples_or_of_the_data(generator: torch.Generator) -> None:
    bits, grey = torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.tensor([[0.25, 0.5], [0.75, 1.0]])
    cases = {
        "bits": (bits, bits, {}),
        "bits (stochastic)": (bits, grey, {}),  # (samples, data)
        "as given": (grey, grey, {}),
        "bits (threshold)": (grey, grey, {"binarization": "threshold"}),
    }
    for how, (samples, data, options) in cases.items():
        drawn, found = one_kind(samples, given_of(data), generator=generator, **options)  # type: ignore[arg-type]
        assert found.name == f"d, {how}"
        assert found.bits is how.startswith("bits")
        if found.bits:
            assert set(torch.cat([drawn, found.train, found.test]).unique().tolist()) <= {0.0, 1.0}
    drawn, found = one_kind(bits, given_of(grey), binarization="none", generator=generator)
    assert (drawn.tolist(), found.train.tolist()) == (bits.tolist(), grey.tolist())
    _, cut = one_kind(grey, given_of(grey), binarization="threshold", threshold=0.6, generator=generator)
    assert cut.train.tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_means_among_samples_of_bits_are_drawn_with_their_probability(generator: torch.Generator) -> None:
    drawn, _ = one_kind(torch.full((20_000, 2), 0.3), given_of(torch.eye(2)), generator=generator)
    assert means_p_value(drawn, 0.3) > FALSE_ALARM


def test_real_columns_are_standardized_with_their_samples(generator: torch.Generator) -> None:
    train = torch.randn(50, 2, generator=generator) * torch.tensor([100.0, 0.1]) + 7
    drawn, cases = one_kind(train * 2, given_of(train), generator=generator)
    torch.testing.assert_close(cases.train.std(0, unbiased=False), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn.std(0, unbiased=False), torch.full((2,), 2.0), atol=1e-3, rtol=0)
    with pytest.raises(InvalidArgumentError, match=r"beyond \[0, 1\]"):
        one_kind(train, given_of(train), binarization="threshold", generator=generator)
    with pytest.raises(InvalidDataError, match="the samples must have 2 columns"):
        one_kind(torch.zeros(3, 5), given_of(train), generator=generator)


def test_bytes_of_pictures_become_grey_levels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((3, 4, 4), 51, dtype=np.uint8))
    torch.testing.assert_close(read_samples(str(tmp_path / "x.npy"), 16), torch.full((3, 16), 0.2))
