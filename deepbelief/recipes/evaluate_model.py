"""One saved model, or the samples of any other, judged by the measures that `compare` puts side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from deepbelief.data.binarize import Binarization
from deepbelief.errors import InvalidDataError, check_count
from deepbelief.evaluation.feature_network import FeatureNetwork
from deepbelief.evaluation.measured import random_rows, standard_error
from deepbelief.evaluation.sample_quality import COPYING, FEWEST, FRECHET, PAIRS, PAIRS_P
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.recipes.compare_cases import Cases
from deepbelief.recipes.evaluate_data import Given, one_kind
from deepbelief.recipes.model_rows import (
    LIKELIHOOD,
    SAMPLING,
    can_be_judged,
    feature_rows,
    independent_row,
    likelihood_row,
    networks_for,
    quality_rows,
)
from deepbelief.rng import make_generator
from deepbelief.types import Bound, Result

STREAM = 601  # of the seed: networks, cuts and choices of cases
MOST_TAUGHT, MOST_SCORED = 10_000, 2_000  # cases for the networks, and for a likelihood that takes draws a case
CLEAR = 5.0  # standard deviations of C_T without any difference
LEVEL = 0.001  # of the two-sample test


class Subject(Protocol):
    """What is judged: a model, which may lack a likelihood and codes, or samples from anywhere, which have neither.

    ``y`` are the labels of the cases x as numbers, ``names`` the classes that they stand for.
    """

    name: str
    is_model: bool
    binarization: Binarization | None
    threshold: float

    def draw(self, n: int, given: Given) -> Tensor: ...

    def log_likelihood(self, x: Tensor, y: Any, names: list[str] | None) -> Bound | None: ...

    def codes(self, x: Tensor, y: Any, names: list[str] | None) -> Any: ...


@dataclass(frozen=True)
class Judgement:
    """The rows with both references, the size of each set, the networks that FD is by, and all this in sentences."""

    rows: list[Result]
    n_each: int
    networks: Sequence[FeatureNetwork]
    taught_by: str
    sentences: list[str]


def judge(
    subject: Subject,
    given: Given,
    *,
    n: int = 2000,
    binarization: Binarization | None = None,
    n_networks: int = 3,
    network_epochs: int = 5,
    seed: int = 0,
) -> Judgement:
    """Draw `n` samples and put them between held-out data and copies; add likelihood and features where there are any.

    All sets of samples and cases are cut to one size, half of the held-out cases at most. `binarization` None takes the
    subject's own where it has one.
    """
    check_count("n", n, low=FEWEST)
    if min(len(given.train), len(given.test) // 2) < FEWEST:
        raise InvalidDataError(
            f"the data must have at least {FEWEST} cases to learn from and {2 * FEWEST} new ones. "
            f"Got {len(given.train)} and {len(given.test)}. Name a larger file, or more new cases."
        )
    generator = make_generator(seed, stream=STREAM)
    start = time.perf_counter()
    drawn = subject.draw(n, given)
    seconds = (time.perf_counter() - start) * 1000 / len(drawn)
    own = subject.binarization if binarization is None else binarization
    samples, cases = one_kind(drawn, given, binarization=own, threshold=subject.threshold, generator=generator)
    assert can_be_judged(cases)
    networks = networks_for(cases, generator, n_networks=n_networks, epochs=network_epochs, most=MOST_TAUGHT)
    rows = quality_rows(samples, cases, networks, subject.name, references=True, most=n)
    if subject.is_model:
        rows.append(Result(SAMPLING, seconds, "measured", None, "s", cases.name, subject.name))
    rows += _likelihoods(subject, given, cases, generator) + _features(subject, given, cases, generator)
    taught = "labels" if cases.y is not None else "clusters"
    n_each = min(n, len(samples), len(cases.train), len(cases.test) // 2)
    return Judgement(rows, n_each, networks, taught, sentences_of(rows, subject.name))


def sentences_of(rows: Sequence[Result], name: str) -> list[str]:
    """What the numbers of `name` say beside both references, in plain words."""
    found = {(row.model, row.quantity): row for row in rows}

    def value(model: str, quantity: str) -> float:
        return float(found[model, quantity].value or 0.0)

    sentences = []
    copying = found[name, COPYING]
    deviations = value(name, COPYING) / (copying.stderr or 1.0)
    copies = f"{value(name, COPYING):.1f} (of copies {value(COPIES, COPYING):.1f})"
    if deviations < -CLEAR:
        sentences.append(f"C_T is {copies}: samples lie nearer to training cases than new data do, as copies would.")
    elif deviations > CLEAR:
        sentences.append(f"C_T is {copies}: samples lie further from training cases than new data do.")
    else:
        sentences.append(f"C_T is {copies}: no sign of copies.")
    ratio = value(name, FRECHET) / max(value(HELD_OUT, FRECHET), 1e-12)
    sentences.append(f"FD is {ratio:.2g} times that of held-out data, the floor for so many cases.")
    p, right = value(name, PAIRS_P), f"{value(name, PAIRS):.0f} % of pairs; 50 is ideal"
    told = "can tell" if p < LEVEL else "cannot tell for sure"
    sentences.append(f"A small network {told} samples from data ({right}, p = {p:.2g}).")
    return sentences


def _likelihoods(subject: Subject, given: Given, cases: Cases, generator: torch.Generator) -> list[Result]:
    """The mean over held-out cases with its kind and its spread, and what units that stand alone reach."""
    x = cases.test if cases.bits else given.test  # a density is one of the scale that the model learned on
    rows = random_rows(len(x), MOST_SCORED, generator).sort().values
    x, y = x[rows], None if given.truth is None else given.truth[rows.numpy()]
    bound = subject.log_likelihood(x, y, given.class_names)
    if bound is None:
        return []
    data = f"{cases.name}, {len(x):,} held-out cases"
    spread = standard_error(torch.as_tensor(bound.value).double().reshape(-1).numpy())
    what = f"{LIKELIHOOD}, standard error over cases"
    return [
        likelihood_row(bound.mean(), data, subject.name),
        Result(what, spread, "measured", None, "nats", data, subject.name),
        independent_row(cases.train if cases.bits else given.train, x, data, bits=cases.bits),
    ]


def _features(subject: Subject, given: Given, cases: Cases, generator: torch.Generator) -> list[Result]:
    """Codes of the cases as they came: means of bits carry less noise than the bits."""
    if cases.y is None:
        return []
    codes = [subject.codes(x, y, given.class_names) for x, y in ((given.train, given.y), (given.test, given.truth))]
    if any(part is None for part in codes):
        return []
    raw = (given.train, given.test) if cases.bits else (cases.train, cases.test)
    both = (np.asarray(codes[0]), np.asarray(codes[1]))
    return feature_rows(both, cases, subject.name, generator, raw=raw)
