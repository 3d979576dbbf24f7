"""All families on one data set, on equal terms: the same cases, the same budget, several seeds, the same measures.

compare.json (the settings)   cells/MODEL-SEED.json and .npy (one fit each)   results.json   samples.npz   data.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepbelief.data.registry import SETS
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, check, check_range
from deepbelief.evaluation.feature_network import FeatureNetwork
from deepbelief.evaluation.measured import standard_error
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.files import atomic_write_text
from deepbelief.recipes.compare_cases import Cases, read_cases
from deepbelief.recipes.compare_fit import fit_one, reference_rows
from deepbelief.recipes.compare_tuning import tuned_rate
from deepbelief.recipes.families import FAMILIES, families
from deepbelief.recipes.model_rows import networks_for
from deepbelief.recipes.run_data import find_data
from deepbelief.recipes.run_folder import RESULTS, write_json, write_results
from deepbelief.rng import make_generator
from deepbelief.types import Result

SETTINGS, CELLS, SAMPLES, FACTS = "compare.json", "cells", "samples.npz", "data.json"
SHOWN = 20  # samples of each family on the page


@dataclass(frozen=True)
class CompareSettings:
    """One comparison.

    ``epochs`` is the budget in passes over the data, shared by the layers of a family that learns one after another;
    with ``seconds``, each family instead gets as many passes as fit into that time on this machine, by the time of a
    first pass. ``width`` is the number of units of every hidden layer, ``betas`` the effort of annealing for log Z,
    ``sweeps`` the length of the chains that fill in what is hidden, three quarters of which are averaged.
    ``rates`` are multiples of each family's usual learning rate, of which the best on held-out training cases is taken
    (`deepbelief.recipes.compare_tuning`); a single one is taken as it is. ``data`` is a named set with test cases of
    its own, or a file of which the share ``held_out`` is kept back; ``label`` and ``key`` say where its labels and its
    cases are.
    """

    data: str = "digits"
    label: str | None = None
    key: str | None = None
    held_out: float = 0.3
    models: tuple[str, ...] = ("rbm", "dbn", "dbm")
    epochs: int = 50
    seconds: float | None = None
    seeds: tuple[int, ...] = (0, 1)
    width: int = 64
    betas: int = 300
    sweeps: int = 1000
    networks: int = 3
    network_epochs: int = 5
    rates: tuple[float, ...] = (1 / 3, 1.0, 3.0)
    most: int = 60_000
    most_test: int = 60_000
    data_dir: str | None = None

    def __post_init__(self) -> None:
        families(self.models)
        named = self.data in SETS and not Path(self.data).exists()
        check(not named or (self.label or self.key) is None, f"label and key are of files. Got the set {self.data!r}.")
        check(len(self.seeds) >= 1, "seeds must hold at least 1 seed. Got none.")
        check(len(self.rates) >= 1 and min(self.rates) > 0, f"rates must be above 0, one or more. Got {self.rates}.")
        low = {"epochs": 1, "width": 2, "betas": 10, "sweeps": 4, "networks": 1, "network_epochs": 1}
        for name, least in {**low, "most": 100, "most_test": 100}.items():
            check_range(name, getattr(self, name), low=least)
        check_range("held_out", self.held_out, low=0.05, high=0.9)
        check(self.seconds is None or self.seconds > 0, f"seconds must be above 0. Got seconds={self.seconds}.")

    @classmethod
    def quick(cls, **more: Any) -> CompareSettings:
        """The whole path in seconds, on a part of the data."""
        small = {
            "rates": (1.0, 3.0),
            "epochs": 2,
            "seeds": (0,),
            "width": 8,
            "betas": 20,
            "sweeps": 20,
            "networks": 1,
            "network_epochs": 1,
            "most": 200,
            "most_test": 200,
        }
        return cls(**{**small, **more})

    @classmethod
    def read(cls, folder: Path) -> CompareSettings:
        """The settings of the comparison in `folder`."""
        path = folder / SETTINGS
        if not path.is_file():
            raise DataNotFoundError(f"the folder must hold a comparison. Got {str(folder)!r}. Check the path.")
        kept = json.loads(path.read_text(encoding="utf-8"))
        given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
        return cls(**given)


def compare(settings: CompareSettings, folder: Path, *, resume: bool = False) -> list[Result]:
    """Fit and measure every family with every seed, keep all in `folder`, and return the table's rows.

    With `resume`, fits whose numbers are in the folder already are not made again.
    """
    find_data(settings.data)
    _check_folder(settings, folder, resume)
    cases = read_cases(settings)  # before anything is written: what is wrong with the data leaves no folder behind
    _open(settings, folder)
    generator = make_generator(0)  # the networks and the references are the same for every seed of the models
    networks = networks_for(cases, generator, n_networks=settings.networks, epochs=settings.network_epochs)
    references = _kept(folder, "references") or _keep(folder, "references", reference_rows(cases, networks, generator))
    rows, samples = [], {}
    for name in able(settings, cases):
        tuned = _tuned(settings, folder, cases, networks, name)
        rate = tuned[0].value if tuned else None
        of_seeds = [_cell(settings, folder, cases, networks, name, seed, rate) for seed in settings.seeds]
        rows += [*over_seeds(of_seeds), *tuned]
        samples[name] = np.load(folder / CELLS / f"{name}-{settings.seeds[0]}.npy", allow_pickle=False)
    samples[HELD_OUT], samples[COPIES] = cases.test[:SHOWN].numpy(), cases.train[:SHOWN].numpy()
    np.savez_compressed(folder / SAMPLES, **samples)
    facts = {"name": cases.name, "image_shape": cases.image_shape, "train": len(cases.train), "test": len(cases.test)}
    write_json(folder / FACTS, facts)
    write_results(folder, [*rows, *references])
    return [*rows, *references]


def able(settings: CompareSettings, cases: Cases) -> list[str]:
    """The families that can learn from these cases; the others stay without numbers."""
    return [name for name in settings.models if FAMILIES[name].can_learn(cases)]


def over_seeds(of_seeds: Sequence[Sequence[Result]]) -> Iterator[Result]:
    """Each quantity's mean over seeds; its error is that over seeds joined with the measure's own.

    A quantity that some seed lacks has no mean. Kinds that differ are "estimate", unless all are bounds of one side.
    """
    for first in of_seeds[0]:
        same = [row for rows in of_seeds for row in rows if row.quantity == first.quantity and row.model == first.model]
        values = [row.value for row in same]
        if len(of_seeds) == 1:
            yield first
        elif len(same) == len(of_seeds) and all(value is not None for value in values):
            numbers = np.array(values, dtype=np.float64)
            kind = first.kind if len({row.kind for row in same}) == 1 else "estimate"
            # the measure's own error (test cases, networks, log Z) is shared by all seeds, so it is not averaged away
            own = float(np.mean([row.stderr or 0.0 for row in same]))
            error = math.hypot(standard_error(numbers), own)
            yield Result(first.quantity, float(numbers.mean()), kind, error, first.unit, first.data, first.model)


def _tuned(
    settings: CompareSettings, folder: Path, cases: Cases, networks: Sequence[FeatureNetwork], name: str
) -> list[Result]:
    """The family's learning rate first, then what it was chosen by; nothing where there is no choice."""
    if settings.rates == (1.0,):
        return []
    kept = _kept(folder, f"{name}-rate")
    return kept or _keep(folder, f"{name}-rate", tuned_rate(name, FAMILIES[name], settings, cases, networks))


def _cell(
    settings: CompareSettings,
    folder: Path,
    cases: Cases,
    networks: Sequence[FeatureNetwork],
    name: str,
    seed: int,
    rate: float | None,
) -> list[Result]:
    kept = _kept(folder, f"{name}-{seed}")
    if kept is not None:
        return kept
    rows, drawn = fit_one(name, FAMILIES[name], settings, cases, networks, seed, rate)
    np.save(folder / CELLS / f"{name}-{seed}.npy", drawn[:SHOWN])
    return _keep(folder, f"{name}-{seed}", rows)


def _kept(folder: Path, name: str) -> list[Result] | None:
    path = folder / CELLS / f"{name}.json"
    if not path.is_file():
        return None
    return [Result(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _keep(folder: Path, name: str, rows: list[Result]) -> list[Result]:
    atomic_write_text(folder / CELLS / f"{name}.json", json.dumps([row.to_dict() for row in rows], indent=1))
    return rows


def _check_folder(settings: CompareSettings, folder: Path, resume: bool) -> None:
    path = folder / SETTINGS
    if resume and path.is_file():
        if CompareSettings.read(folder) != settings:
            raise InvalidArgumentError(
                f"the settings must be those that it was started with. Got others than in {path}. Change none."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise InvalidArgumentError(
            f"the folder must be new or empty. Got {str(folder)!r}. Choose another, or resume the one that is there."
        )


def _open(settings: CompareSettings, folder: Path) -> None:
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    (folder / RESULTS).unlink(missing_ok=True)
    atomic_write_text(folder / SETTINGS, json.dumps(asdict(settings), indent=1))
