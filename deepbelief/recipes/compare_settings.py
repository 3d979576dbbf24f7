"""What a comparison is asked: the data, the families, the budget, the seeds and the effort of its measures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepbelief.data.registry import SETS
from deepbelief.errors import DataNotFoundError, check, check_range
from deepbelief.recipes.families import families

SETTINGS = "compare.json"


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
