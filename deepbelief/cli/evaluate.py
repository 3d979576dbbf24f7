"""``deepbelief evaluate``: how good a saved model's samples are, or those of any other model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.cli.shared import DataDir, Json, Seed, bold, print_json, print_tables, tell
from deepbelief.cli.subjects import Drawing, find_subject
from deepbelief.errors import check, check_choice

if TYPE_CHECKING:
    from deepbelief.recipes.evaluate_model import Judgement


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|SAMPLES", help="The folder of a run or a saved model, or a file of draws from any other."
        ),
    ],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="The file that it was trained on, or a named set with test cases.")
    ],
    held_out: Annotated[
        str | None, typer.Option(metavar="FILE", help="New cases [default: those that the run kept back].")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=40, help="How many samples.")] = 2000,
    label: Annotated[str | None, typer.Option(help="The label column [default: the model's].")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sweeps of the chains that draw.")] = 1000,
    method: Annotated[str | None, typer.Option(help="gibbs, pt or metropolis, where there are several.")] = None,
    betas: Annotated[int, typer.Option(min=2, help="Temperatures, where log Z must be annealed.")] = 1000,
    binarization: Annotated[
        str | None, typer.Option(help="stochastic, threshold or none, for grey levels [default: the model's].")
    ] = None,
    networks: Annotated[int, typer.Option(min=1, help="Feature networks, whose spread is the error of FD.")] = 3,
    network_epochs: Annotated[int, typer.Option(min=1, help="Passes that each of them learns.")] = 5,
    out: Annotated[Path | None, typer.Option(help="A .json file with every number.")] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Judge samples beside held-out data (the floor) and copies of training data (the cheat).

    FD, KID, precision, recall, density, coverage, a two-sample test and C_T, which finds copies; of a model also its
    log-likelihood with its kind and, where the data have classes, the worth of its features.

    Examples:

    - `deepbelief evaluate runs/VAE-digits digits`

    - `deepbelief evaluate runs/measurements measurements.csv --out quality.json`

    - `deepbelief evaluate draws.npz train.npy --held-out new.npy`, for the draws of another program
    """
    from deepbelief.data.binarize import BINARIZATIONS
    from deepbelief.recipes.evaluate_data import read_given
    from deepbelief.recipes.evaluate_model import judge
    from deepbelief.recipes.run_folder import write_json

    check(out is None or out.suffix == ".json", f"--out must end in .json. Got {str(out)!r}.")
    if binarization is not None:
        check_choice("--binarization", binarization, BINARIZATIONS)
    subject, how = find_subject(model, Drawing(seed, steps, method, betas), label)
    run = model if how is not None else None
    given = read_given(data, how, run=run, label=label, held_out=held_out, data_dir=data_dir)
    options: dict[str, Any] = {"binarization": binarization, "n_networks": networks, "network_epochs": network_epochs}
    found = judge(subject, given, n=n, seed=seed, **options)
    rows = [row.to_dict() for row in found.rows]
    if out is not None:
        write_json(out, rows)
    if json:
        facts = {"cases_each": found.n_each, "division": given.division, "says": found.sentences}
        print_json({"results": rows, **facts})
        return
    print_tables(found.rows, (subject.name,))
    _say(found, given.division)
    if out is not None:
        tell(f"Every number is in {bold(out)}.")


def _say(found: Judgement, division: str) -> None:
    networks = ", ".join(f"{net.name} ({net.hash})" for net in found.networks)
    typer.echo(f"{found.n_each:,} samples, held-out cases and copies; FD by {networks}, taught by {found.taught_by}.")
    for sentence in [*found.sentences, *filter(None, [division])]:
        typer.echo(f"- {sentence}")
