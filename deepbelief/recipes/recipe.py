"""A recipe: a published result, our settings for it, and one function that reproduces it.

Run one with ``python -m deepbelief.recipes.NAME``; ``--quick`` runs the whole path in seconds on the embedded digits.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepbelief.data.binarize import make_binarizer
from deepbelief.data.sets import DataSet, load_set
from deepbelief.errors import DeepBeliefError
from deepbelief.maths.float32 import multiplies_bf16
from deepbelief.rng import make_generator
from deepbelief.storage import atomic_write_text
from deepbelief.types import Result


@dataclass(frozen=True)
class Options:
    """What a run of a recipe may choose; everything else is the recipe's own."""

    seed: int = 0
    out: Path = Path("runs")
    data_dir: Path | None = None
    quick: bool = False
    resume: bool = False
    progress: bool = True
    threads: int | None = None

    def load(self, split: str, name: str = "mnist") -> DataSet:
        """The recipe's data; quick runs use the embedded digits, so they need no file."""
        return load_set("digits" if self.quick else name, split=split, data_dir=self.data_dir, progress=self.progress)

    @property
    def precision(self) -> str:
        """Of dense networks: "bf16" where that is quicker, by hardware that multiplies it."""
        return "bf16" if multiplies_bf16("cuda" if torch.cuda.is_available() else "cpu") else "fp32"

    def epochs(self, wanted: int) -> int:
        """The number of epochs, 2 when quick."""
        return min(wanted, 2) if self.quick else wanted

    def folder(self, recipe: str) -> Path:
        """Where this seed's checkpoints and models go."""
        return self.out / recipe / f"seed-{self.seed}"

    def trainer(self, **more: object) -> dict[str, Any]:
        """Arguments for every trainer of the recipe."""
        return {"progress": self.progress, "threads": self.threads, **more}


@dataclass(frozen=True)
class Recipe:
    """A known result: where it was published, what was published, and what these settings reached here."""

    name: str
    title: str
    paper: str
    published: str
    setting: str
    reached: str
    time: str
    reproduce: Callable[[Options], list[Result]]

    @property
    def command(self) -> str:
        """What anyone can type to get the number again."""
        return f"python -m deepbelief.recipes.{self.name}"


def bernoulli_draw(data: DataSet, seed: int = 1) -> Tensor:
    """One fixed Bernoulli draw of the grey levels: the evaluation set of stochastically binarized data."""
    return make_binarizer("stochastic").apply(data.scaled(), make_generator(seed))


def main(recipe: Recipe) -> None:
    """Parse the arguments of a recipe's command, run it for each seed, print and keep the numbers."""
    parser = argparse.ArgumentParser(prog=recipe.command, description=f"{recipe.title}. {recipe.paper}.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run for each")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where models, checkpoints and results go")
    parser.add_argument("--data-dir", type=Path, default=None, help="where the data files are")
    parser.add_argument("--quick", action="store_true", help="the whole path in seconds, on the embedded digits")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoints in --out")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: torch's own)")
    asked = parser.parse_args()
    print(f"{recipe.title}\n{recipe.paper}: {recipe.published}\nSetting: {recipe.setting}", flush=True)
    for seed in asked.seeds:
        options = Options(seed, asked.out, asked.data_dir, asked.quick, asked.resume, True, asked.threads)
        try:
            run_once(recipe, options)
        except DeepBeliefError as error:  # what is wrong in one sentence, as on the command line
            raise SystemExit(f"Error: {error}") from None


def run_once(recipe: Recipe, options: Options) -> list[Result]:
    """Reproduce the result for one seed, print its numbers and write them to ``results.json``."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    start = time.perf_counter()
    results = recipe.reproduce(options)
    seconds = time.perf_counter() - start
    results.append(Result("time", seconds, "measured", None, "s", results[0].data, recipe.name))
    folder = options.folder(recipe.name)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / "results.json", json.dumps([row.to_dict() for row in results], indent=2))
    for row in results:
        error = "" if not row.stderr else f" +- {row.stderr:.2g}"
        print(f"seed {options.seed}  {row.quantity}: {row.value:.3f}{error} {row.unit} ({row.kind})", flush=True)
    return results
