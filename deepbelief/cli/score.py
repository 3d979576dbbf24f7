"""``deepbelief score``: how likely each case is, and which are odd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.cli.conditions import Condition, condition_of_cases, refuse_condition
from deepbelief.cli.detected import tell_oddness
from deepbelief.cli.faces import Face, find_face
from deepbelief.cli.models import CasesFile, Label, ModelFolder, check_out, load_stack, read_cases, write_rows
from deepbelief.cli.shared import Json, Seed, bold, print_json, print_table, tell
from deepbelief.errors import InvalidArgumentError, check

if TYPE_CHECKING:
    from deepbelief.recipes.run_data import Preparation
    from deepbelief.types import Bound


def score(
    model: ModelFolder,
    file: CasesFile,
    label: Label = None,
    condition: Condition = None,
    anomalies: Annotated[int, typer.Option(min=0, help="Show the so many least likely cases.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A .csv or .npy file with a number per case.")] = None,
    schedule: Annotated[str, typer.Option(help="How temperatures lie: fixed, or adaptive after a pilot.")] = "fixed",
    betas: Annotated[int, typer.Option(min=2, help="Temperatures, where log Z must be annealed.")] = 1000,
    annealed: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Score a VAE or RBM by N temperatures.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Score cases: the log-likelihood of each in nats, and whether it is exact, an estimate or a lower bound.

    A detector of anomalies has a score without a unit instead, below 0 for what it calls odd.

    Examples:

    - `deepbelief score runs/measurements new.csv --anomalies 10`

    - `deepbelief score runs/digits digits --out scores.csv`

    - `deepbelief score runs/VAE-digits digits --annealed 200`, with a VAE or an RBM of `fit`
    """
    from deepbelief.evaluation.likelihood import chunked_log_likelihood, model_log_z
    from deepbelief.rng import make_generator

    check_out(out)
    face = find_face(model)
    _check_options(face, schedule, annealed)
    if face is not None and face.detects:
        refuse_condition(condition)
        tell_oddness(face.oddness(face.cases(file, label)), face.estimator.method_, anomalies, out, json=json)
        return
    if face is not None:
        how, x = face.how, face.cases(file, label)
        n_cases = x.shape[0]
        given = condition_of_cases(face, condition, file, label, n_cases)
        if annealed is None:
            bound = face.log_likelihood(x, given)
        else:
            bound = face.annealed_log_likelihood(x, given, n_temperatures=annealed, seed=seed)
    else:
        refuse_condition(condition)
        dbn, how = load_stack(model)
        generator = make_generator(seed)
        x = how.bits(read_cases(file, how, label), generator, seed=seed)
        log_z = model_log_z(dbn, x, n_chains=100, betas=betas, schedule=schedule, generator=generator)
        bound, n_cases = chunked_log_likelihood(dbn, x, generator=generator, log_z=log_z), len(x)
    scores = bound.value.tolist()  # type: ignore[union-attr]
    first = n_cases - len(scores)  # the frames of a sequence that have no whole context are not scored
    oddest = sorted(range(len(scores)), key=scores.__getitem__)[:anomalies]
    if out is not None:
        write_rows([[value] for value in scores], out, ["log_likelihood"])
    if json:
        print_json(_facts(bound, how, scores, first, oddest))
        return
    typer.echo(f"mean log-likelihood {bound} nats per case, {len(scores):,} cases{_on_what(how)}")
    if bound.low is not None and bound.high is not None and bound.kind != "exact":
        typer.echo(bracket_line(bound.method, bound.low, bound.high))
    if oddest:
        rows = [(str(first + row), f"{scores[row]:.2f}") for row in oddest]
        print_table("The least likely cases", ["row", "log-likelihood (nats)"], rows, right=[0, 1])
    if out is not None:
        tell(f"The scores are in {bold(out)}.")


def _facts(bound: Bound, how: Preparation, scores: list[float], first: int, oddest: list[int]) -> dict[str, Any]:
    """All that is known of the scores, for other programs."""
    facts = {"kind": bound.kind, "stderr": bound.stderr, "unit": "nats", "method": bound.method, "first_row": first}
    facts |= {"columns": "as given" if how.spread is None else "standardized"}
    odd = [{"row": first + row, "log_likelihood": scores[row]} for row in oddest]
    ends = {"low": bound.low, "high": bound.high}
    return {"mean": float(bound), **facts, **ends, "scores": scores, "anomalies": odd}


def _check_options(face: Face | None, schedule: str, annealed: int | None) -> None:
    """Refuse what a model cannot do, before any case is read."""
    check(face is None or schedule == "fixed", "--schedule must be left out for an estimator. Got a model of `fit`.")
    if annealed is not None and not hasattr(getattr(face, "estimator", None), "annealed_log_likelihood"):
        kind = "a DBN or an RBM of `train`" if face is None else type(face.estimator).__name__
        raise InvalidArgumentError(f"--annealed is for a VAE or an RBM of `fit`. Got {kind}. Leave it out.")


def _on_what(how: Preparation) -> str:
    """What was done to the cases before they were scored, where it changes the number."""
    if how.scored not in ("none", "threshold"):
        return f", on bits drawn with the {how.scored} binarization"
    return ", on standardized columns" if how.spread is not None else ""


def bracket_line(method: str, low: float, high: float) -> str:
    """The two ends in words: those of annealing, or of the tempering that stood in for it.

    >>> bracket_line("AIS forward 3.20, reverse 3.40", -8.0, -7.8)
    'annealing brackets it between -8.00 (reverse) and -7.80 (forward)'
    >>> bracket_line("parallel tempering, 50 ladders", -8.0, -7.8)
    'tempering brackets it between -8.00 and -7.80'
    """
    if "parallel tempering" in method:
        return f"tempering brackets it between {low:.2f} and {high:.2f}"
    return f"annealing brackets it between {low:.2f} (reverse) and {high:.2f} (forward)"
