"""``deepbelief demo``: a deep belief network from data to report, in a minute or two."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deepbelief.cli.shared import DataDir, Json, Seed, bold, print_json, print_results, tell
from deepbelief.cli.train import running


class DemoData(StrEnum):
    """The sets that the demo knows."""

    digits = "digits"
    mnist = "mnist"


def demo(
    data: Annotated[DemoData, typer.Option(help="digits is built in; mnist is looked for, or downloaded.")] = (
        DemoData.digits
    ),
    out: Annotated[Path, typer.Option(help="The folder to write; an older run there is replaced.")] = Path("demo"),
    data_dir: DataDir = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few epochs, to see that everything works.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a deep belief network, look into it and use it: the whole story on one page.

    It learns digits layer by layer without labels, is fine-tuned with them, is scored, drawn from, and completes
    half-hidden pictures. Writes `report.html`, `results.json` and `model/`.

    Example: `deepbelief demo --out demo`, then open `demo/report.html`.
    """
    from deepbelief.cli.report import draw
    from deepbelief.recipes.run import run
    from deepbelief.recipes.run_defaults import demo_settings

    began = time.monotonic()
    settings = demo_settings(data.value, quick=quick, data_dir=None if data_dir is None else str(data_dir), seed=seed)
    command = f"deepbelief demo --data {data.value} --seed {seed}{' --quick' if quick else ''}"
    with running(out):
        results = run(settings, out, overwrite=True, command=command)
        page = draw(out)
    if json:
        print_json([result.to_dict() for result in results])
    else:
        print_results(results, "What the demo reached (everything is in results.json)")
    tell(f"Done in {time.monotonic() - began:.0f} s. Open {bold(page)}; the model is in {out / 'model'}.")
