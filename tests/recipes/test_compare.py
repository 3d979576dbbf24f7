"""Comparisons: all families from data to numbers, n/a where there is none, resuming, and the page."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbelief.cli.compare import draw
from deepbelief.errors import DivergenceError, InvalidArgumentError
from deepbelief.estimators.rbm import RBM
from deepbelief.recipes import compare as compare_file
from deepbelief.recipes.compare import compare, over_seeds
from deepbelief.recipes.compare_data import read_cases
from deepbelief.recipes.compare_fit import FILLING, MEMORY, SECONDS, completion_rows
from deepbelief.recipes.compare_settings import CompareSettings
from deepbelief.recipes.compare_tuning import JUDGED, RATE, searched, tuned_rate
from deepbelief.recipes.families import FAMILIES, build, usual_rate
from deepbelief.recipes.model_rows import LIKELIHOOD
from deepbelief.report.comparison import make_tables
from deepbelief.rng import make_generator
from deepbelief.types import Result
from tests.report.test_page import Page

TIMED = (SECONDS, MEMORY, FILLING, "time to draw 1,000 samples")
WITHOUT = {"autoencoder": (LIKELIHOOD, "coverage", "memorisation C_T")}
WITHOUT |= dict.fromkeys(("gan", "dcgan"), (LIKELIHOOD, "linear probe accuracy"))
HERE = tuple(name for name in FAMILIES if name not in ("wgan-gp", "hinge"))  # other losses: test_compare_own_data
QUICK: dict[str, Any] = {"models": HERE}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    folder = tmp_path_factory.mktemp("compare") / "all"
    return folder, compare(CompareSettings.quick(**QUICK), folder)


def test_every_family_has_its_numbers_with_their_kind(done: tuple[Path, list[Result]]) -> None:
    rows = {(row.model, row.quantity): row for row in done[1]}
    for name in HERE:
        for quantity in (LIKELIHOOD, SECONDS, "coverage", "memorisation C_T", "linear probe accuracy", "parameters"):
            if quantity in WITHOUT.get(name, ()):
                assert (name, quantity) not in rows
                continue
            value = rows[name, quantity].value
            assert value is not None
            assert math.isfinite(value)
    assert [rows[name, LIKELIHOOD].kind for name in ("rbm", "dbn", "dbm")] == ["exact", "lower_bound", "lower_bound"]
    assert rows["independent units", LIKELIHOOD].kind == "exact"
    assert {"held-out data", "copies of training data", "raw inputs", "training mean"} <= {row.model for row in done[1]}
    assert len(json.loads((done[0] / "results.json").read_text())) == len(done[1])


def test_rates_are_chosen_on_held_out_training_cases(
    done: tuple[Path, list[Result]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = done[1]
    for name, family in ((name, FAMILIES[name]) for name in HERE):
        mine = {row.quantity: row for row in rows if row.model == name}
        judged = {float(q.split()[-1]): row.value for q, row in mine.items() if q.startswith(JUDGED)}
        known = {rate: value for rate, value in judged.items() if value is not None}
        assert len(judged) >= 3  # of two rates one is at an end
        assert {float(f"{usual_rate(family, 8) * factor:.3g}") for factor in (1, 3)} <= set(judged)
        assert known[float(mine[RATE].value or 0)] == max(known.values())  # a GAN of few steps may not tell rates apart
        assert mine[RATE].data.endswith("training part")
    settings = CompareSettings.quick(models=("rbm",))
    cases = read_cases(settings)
    seen: list[np.ndarray] = []
    fit = RBM.fit
    monkeypatch.setattr(RBM, "fit", lambda self, x: (seen.append(x), fit(self, x))[1])
    tuned_rate("rbm", FAMILIES["rbm"], settings, cases, [])
    assert {len(x) for x in seen} == {160}  # of 200 training cases
    assert {row.tobytes() for row in seen[0]} <= {row.tobytes() for row in cases.train.numpy()}


def test_the_search_goes_on_beyond_an_end_that_is_best() -> None:
    def peak(at: float) -> Any:
        return lambda rate: (-abs(math.log(rate / at)), "measured", "")

    assert sorted(searched([1 / 3, 1.0, 3.0], peak(1.0))) == [1 / 3, 1.0, 3.0]
    assert sorted(searched([1.0, 3.0], peak(9.0))) == [1.0, 3.0, 9.0, 27.0]
    assert len(searched([1.0, 3.0], peak(1e9))) == 5  # it gives up
    assert sorted(searched([1.0, 3.0], peak(0.3))) == [0.111, 0.333, 1.0, 3.0]
    assert list(searched([1.0], peak(5.0))) == [1.0]


def test_a_rate_that_diverges_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CompareSettings.quick(models=("rbm",))
    fit = RBM.fit

    def fit_or_diverge(self: Any, x: Any) -> Any:
        if self.learning_rate > 0.5:
            raise DivergenceError("numbers that are not finite")
        return fit(self, x)

    monkeypatch.setattr(RBM, "fit", fit_or_diverge)
    rows = tuned_rate("rbm", FAMILIES["rbm"], settings, read_cases(settings), [])
    assert rows[0].value is not None
    assert rows[0].value <= usual_rate(FAMILIES["rbm"], 8) == 0.3
    tried = {row.quantity.split()[-1]: row.value for row in rows[1:]}
    assert tried["0.9"] is None
    assert tried["0.3"] is not None


def test_resuming_repeats_no_fit_and_gives_the_same(
    done: tuple[Path, list[Result]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = done
    kept = (folder / "cells" / "dbn-0.json").read_text()
    (folder / "cells" / "dbn-0.json").unlink()
    fitted: list[str] = []
    fit = compare_file.fit_one
    monkeypatch.setattr(compare_file, "fit_one", lambda name, *rest: (fitted.append(name), fit(name, *rest))[1])
    again = compare(CompareSettings.quick(**QUICK), folder, resume=True)
    assert fitted == ["dbn"]
    for one, other in zip(rows, again, strict=True):
        assert one.quantity in TIMED or one == other
    assert kept != (folder / "cells" / "dbn-0.json").read_text()  # times differ
    with pytest.raises(InvalidArgumentError, match="Change none"):
        compare(CompareSettings.quick(models=("rbm",)), folder, resume=True)
    with pytest.raises(InvalidArgumentError, match="new or empty"):
        compare(CompareSettings.quick(**QUICK), folder)


def test_the_page_shows_every_number_and_asks_no_network(done: tuple[Path, list[Result]]) -> None:
    page = Page(draw(done[0]).read_text(encoding="utf-8"))
    assert not page.mistakes
    assert not page.stack
    text = " ".join(part for _, part in page.text)
    for name in (*HERE, "held-out data", "copies of training data", "lower bound", "n/a"):
        assert name in text
    loaded = [attributes.get("src") or "" for tag, attributes in page.elements if tag in ("img", "script", "link")]
    assert all(source.startswith(("data:", "")) for source in loaded)
    assert "script" not in {tag for tag, _ in page.elements}
    assert sum(tag == "img" for tag, _ in page.elements) == len(HERE) + 1  # an autoencoder draws none


def test_what_a_family_lacks_is_not_available() -> None:
    rows = [Result("coverage", 0.5, "measured", None, "", "d", "gan"), Result(LIKELIHOOD, -1, "exact", 0, "", "d", "a")]
    density, quality = make_tables(rows, ("gan", "a"), charts=False)  # what nobody has is not shown at all
    assert (density.columns, quality.columns) == (["log-likelihood"], ["coverage"])
    assert [cell.text for cell in density.rows[0].cells] == ["n/a"]
    assert density.rows[1].cells[0].kind == "exact"


def test_means_over_seeds_keep_the_error_of_the_method() -> None:
    def rows(value: float, kind: Any, error: float | None) -> list[Result]:
        return [Result("q", value, kind, error, "", "d", "m")]

    (measured,) = over_seeds([rows(1.0, "measured", None), rows(3.0, "measured", None)])
    assert (measured.value, measured.stderr, measured.kind) == (2.0, pytest.approx(1.0), "measured")
    (bound,) = over_seeds([rows(1.0, "lower_bound", 2.0), rows(3.0, "lower_bound", 2.0)])
    assert (bound.stderr, bound.kind) == (pytest.approx(math.sqrt(1 + 4)), "lower_bound")
    (mixed,) = over_seeds([rows(1.0, "exact", 0.0), rows(3.0, "estimate", 0.5)])
    assert mixed.kind == "estimate"
    assert list(over_seeds([rows(1.0, "exact", 0.3)])) == rows(1.0, "exact", 0.3)
    assert not list(over_seeds([rows(1.0, "exact", 0.0), []]))


def test_the_budget_is_shared_by_layers_and_may_be_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = read_cases(CompareSettings.quick())
    assert build(FAMILIES["dbn"], 4, 10, cases, 0).epochs == 5
    assert build(FAMILIES["rbm"], 4, 10, cases, 0).epochs == 10
    stack = build(FAMILIES["vaestack"], 4, 10, cases, 0, 0.01)
    assert (stack.epochs, stack.top_epochs, stack.learning_rate, stack.top_learning_rate) == (5, 5, 0.3, 0.01)
    assert set(np.unique(cases.train.numpy())) == {0.0, 1.0}
    from deepbelief.recipes import compare_fit

    times = iter([0.0, 2.0])
    monkeypatch.setattr(compare_fit.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(type(build(FAMILIES["dbn"], 4, 2, cases, 0)), "fit", lambda self, x: self)
    assert compare_fit.affordable(FAMILIES["dbn"], CompareSettings.quick(seconds=11.0), cases, 0) == 10


@pytest.mark.parametrize("family", ["rbm", "boltzmann", "dbn", "dbm", "vae", "rbmvae", "vaestack"])
def test_all_families_fill_in_by_chains_of_one_length(family: str) -> None:
    cases = read_cases(CompareSettings.quick())
    estimator, lengths = build(FAMILIES[family], 4, 1, cases, 0).fit(cases.train.numpy()), []
    complete = type(estimator).complete

    class Watched(type(estimator)):  # type: ignore[misc]
        def complete(self, X: Any, known: Any, *, n_steps: int = 0, n_average: int = 0) -> Any:
            lengths.append((n_steps, n_average))
            return complete(self, X, known, n_steps=n_steps, n_average=n_average)

    estimator.__class__ = Watched
    rows = completion_rows(estimator, cases, family, make_generator(0), 8)
    assert set(lengths) == {(8, 6)}
    assert [row.quantity.split(" (")[0] for row in rows] == ["completion log-loss", FILLING]
    assert all(row.value is not None and row.value > 0 for row in rows)


def test_settings_are_checked_before_any_work() -> None:
    with pytest.raises(InvalidArgumentError, match="Did you mean 'rbm'"):
        CompareSettings(models=("rbn",))
    with pytest.raises(InvalidArgumentError, match="once"):
        CompareSettings(models=("rbm", "rbm"))
    with pytest.raises(InvalidArgumentError, match="seconds must be above 0"):
        CompareSettings(seconds=0.0)
    with pytest.raises(InvalidArgumentError, match="rates must be above 0"):
        CompareSettings(rates=(1.0, 0.0))
