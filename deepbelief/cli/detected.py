"""What `deepbelief score` says of cases that a detector of anomalies has judged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import typer

from deepbelief.cli.models import write_rows
from deepbelief.cli.shared import bold, print_json, print_table, tell


def tell_oddness(scores: Any, method: str, anomalies: int, out: Path | None, *, json: bool) -> None:
    """The detector's scores, higher is more normal and below 0 is odd; NaN where a step of a series has none."""
    known = [row for row, score in enumerate(scores) if not math.isnan(score)]
    n_odd = sum(scores[row] < 0 for row in known)
    oddest = sorted(known, key=scores.__getitem__)[:anomalies]
    if out is not None:
        write_rows([[value] for value in scores], out, ["score"])
    if json:
        odd = [{"row": row, "score": scores[row]} for row in oddest]
        given = [None if math.isnan(score) else score for score in scores]
        print_json({"kind": "score", "method": method, "n_odd": n_odd, "scores": given, "anomalies": odd})
        return
    typer.echo(f"{n_odd:,} of {len(known):,} cases are odd: their {method} score lies below the threshold")
    if oddest:
        rows = [(str(row), f"{scores[row]:.3f}") for row in oddest]
        print_table("The oddest cases", ["row", "score less threshold"], rows, right=[0, 1])
    if out is not None:
        tell(f"The scores are in {bold(out)}.")
