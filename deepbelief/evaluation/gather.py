"""Fill a `Gallery` from a trained model: all that the report shows, within a budget of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.stack import BeliefStack
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError, check, check_count
from deepbelief.evaluation.advice import give_advice
from deepbelief.evaluation.chain_data import Comparison
from deepbelief.evaluation.chains import ChainDiagnosis
from deepbelief.evaluation.classification import confusion_matrix, hardest_cases
from deepbelief.evaluation.codes import code_map
from deepbelief.evaluation.filters import layer_filters, unit_drivers
from deepbelief.evaluation.gallery import Chains, Gallery, HardCases
from deepbelief.evaluation.likelihood import check_states, independent_log_likelihood, layer_bounds
from deepbelief.evaluation.measured import check_same_length, random_rows, to_numpy
from deepbelief.evaluation.pictures import chain_frames, class_samples, completions, geometric_steps, reconstructions
from deepbelief.rng import bernoulli
from deepbelief.types import Bound, Result
from deepbelief.units.base import Units

CHUNK = 1000
Binarize = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class GalleryBudget:
    """How much of each thing is made. The chains' steps and the temperatures of annealing cost most of the time."""

    samples: int = 64
    samples_per_class: int = 10
    steps: int = 1000
    chains: int = 32
    chains_shown: int = 8
    frames: int = 8
    cases: int = 14
    hard_cases: int = 24
    codes: int = 1000
    units: int = 100
    scored_cases: int = 1000
    annealing_chains: int = 100
    temperatures: int = 1000

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            check_count(name, number, low=1)


def gather(
    model: BeliefStack | RBM,
    train: Tensor,
    test: Tensor,
    *,
    title: str,
    generator: torch.Generator,
    y_train: Tensor | None = None,
    y_test: Tensor | None = None,
    classifier: UnrolledDBN | None = None,
    histories: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    results: Sequence[Result] = (),
    bounds: Mapping[str, Bound] | None = None,
    image_shape: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    binarize: Binarize | None = None,
    budget: GalleryBudget | None = None,
    learning: Mapping[str, LearningSettings] | None = None,
    diagnosis: ChainDiagnosis | None = None,
    comparison: Comparison | None = None,
    **texts: Any,
) -> Gallery:
    """Everything that the report shows of `model`, from `train` and `test` cases (cases, features) as they are shown.

    Where units need bits and the cases are grey, likelihoods and chains take ``binarize(x, generator)`` (a draw of each
    bit with its grey level, unless told), pictures take the cases. `bounds` by name spares their estimation; labels are
    class numbers, and those below 0 are unknown. The settings of `learning` by stage, the `diagnosis` of chains and
    their `comparison` with data make the advice better. `texts` are further fields of the gallery, such as
    ``description``, ``command``, ``settings``, ``headline``.
    """
    dbn = as_stack(model)
    plan = budget or GalleryBudget()
    train, test = (_on_device(cases, dbn, name) for cases, name in ((train, "train"), (test, "test")))
    for cases, labels, name in ((train, y_train, "train"), (test, y_test, "test")):
        if labels is not None:
            check_same_length(cases, labels, name, f"y_{name}")
    some = random_rows(len(test), plan.scored_cases, generator).to(test.device)
    states = as_states(dbn.visible, test[some], generator, binarize)
    bounds = named_bounds(dbn, states, plan, generator) if bounds is None else dict(bounds)
    colours = None if y_test is None or y_test.ndim > 1 else y_test[some.to(y_test.device)]  # several values have none
    steps = geometric_steps(plan.steps, plan.frames)
    frames = chain_frames(dbn, states[: plan.chains], steps, generator=generator)
    gallery = Gallery(
        title,
        results=list(results),
        histories={stage: [dict(row) for row in rows] for stage, rows in (histories or {}).items()} or None,
        bounds=bounds,
        image_shape=None if image_shape is None else tuple(image_shape),
        class_names=None if class_names is None else list(class_names),
        feature_names=None if feature_names is None else list(feature_names),
        layers=layer_facts(dbn),
        chains=Chains(to_numpy(frames[: plan.chains_shown]), to_numpy(torch.tensor(steps))),
        samples=to_numpy(dbn.sample(plan.samples, generator=generator, n_steps=plan.steps, mean=True)),
        class_samples=class_samples(dbn, plan.samples_per_class, plan.steps, generator=generator),
        completions=completions(dbn, test[some[: plan.cases]], image_shape, generator=generator),
        reconstructions=reconstructions(dbn, test[some[: plan.cases]]),
        code_map=code_map(encode_in_chunks(dbn, test[some]), colours, generator=generator, most=plan.codes),
        **{"data_facts": data_facts(train, test, y_train), **texts},
    )
    gallery.filters, gallery.filter_notes = layer_filters(dbn, most=plan.units)
    driving = train[random_rows(len(train), 2 * plan.scored_cases, generator).to(train.device)]
    gallery.drivers = unit_drivers(dbn, driving, k=min(10, len(driving)), most=plan.units)
    add_classification(gallery, dbn, classifier, test, y_test, plan.hard_cases)
    baseline = independent_log_likelihood(dbn.visible, train, states)
    known: dict[str, Any] = {"learning": learning, "diagnosis": diagnosis, "comparison": comparison, "results": results}
    gallery.advice += give_advice(dbn, states, frames, steps, bounds, histories, baseline, **known)
    gallery.check()
    return gallery


def as_stack(model: BeliefStack | RBM) -> BeliefStack:
    """`model` itself, or the DBN of one layer that an RBM is (its parameters are shared)."""
    check(isinstance(model, BeliefStack | RBM), f"model must be a DBN or an RBM. Got {type(model).__name__}.")
    return DBN([model]) if isinstance(model, RBM) else model


def as_states(units: Units, x: Tensor, generator: torch.Generator, binarize: Binarize | None = None) -> Tensor:
    """`x` as states of the units: grey levels of Bernoulli units become bits, other cases stay as they are."""
    if binarize is not None:
        x = binarize(x, generator)
    elif units.kind == "bernoulli":
        units.check_values(x)
        x = bernoulli(x, generator)  # bits stay as they are, for a draw at probability 0 or 1 is certain
    check_states(units, x)
    return x


def named_bounds(dbn: BeliefStack, states: Tensor, plan: GalleryBudget, generator: torch.Generator) -> dict[str, Bound]:
    """The log-likelihood (bound) with 1, 2, ... layers, averaged over the cases, by name."""
    options: dict[str, Any] = {"n_chains": plan.annealing_chains, "betas": plan.temperatures}
    bounds = layer_bounds(dbn, states, generator=generator, **options)
    return {f"{i} layer{'s' if i > 1 else ''}": bound.mean() for i, bound in bounds.items()}


def layer_facts(dbn: BeliefStack) -> list[dict[str, Any]]:
    """Name, units and kind of each layer from the data up; labels beside the layer that they join."""
    facts = [{"name": "data", "units": dbn.visible.size, "kind": dbn.visible.kind}]
    facts += [
        {"name": f"layer {i}", "units": rbm.hidden.size, "kind": rbm.hidden.kind}
        for i, rbm in enumerate(dbn.layers, start=1)
    ]
    if dbn.n_classes:
        facts.insert(-1, {"name": "labels", "units": dbn.n_classes, "kind": "categorical"})
    return facts


def data_facts(train: Tensor, test: Tensor, y_train: Tensor | None) -> dict[str, Any]:
    """How many cases, features and labels there are."""
    facts: dict[str, Any] = {"training cases": len(train), "test cases": len(test), "features": train.shape[1]}
    if y_train is not None and not torch.is_floating_point(y_train):
        known = y_train[y_train >= 0]
        facts |= {"labelled training cases": len(known), "classes": len(known.unique())}
    return facts


@torch.no_grad()
def class_probabilities(dbn: BeliefStack, classifier: UnrolledDBN | None, x: Tensor) -> Tensor | None:
    """``p(y | x)`` by the fine-tuned network, else by the labels in the top RBM, else None."""
    if classifier is None and not dbn.n_classes:
        return None
    if classifier is None:
        return torch.cat([dbn.classify(rows) for rows in x.split(CHUNK)])
    training = classifier.training
    classifier.eval()
    try:
        device = classifier.output.weight.device
        return torch.cat([torch.softmax(classifier(rows.to(device)), 1) for rows in x.split(CHUNK)])
    finally:
        classifier.train(training)


def add_classification(
    gallery: Gallery, dbn: BeliefStack, classifier: UnrolledDBN | None, test: Tensor, y_test: Tensor | None, n_hard: int
) -> None:
    """Put the confusion matrix and the hardest cases into the gallery, where there are labels and a classifier."""
    if y_test is None or torch.is_floating_point(y_test):
        return
    labelled = (y_test >= 0).nonzero()[:, 0]
    probabilities = class_probabilities(dbn, classifier, test[labelled.to(test.device)])
    if probabilities is None or len(labelled) == 0:
        return
    y, p = y_test[labelled].cpu(), probabilities.cpu()
    gallery.confusion = confusion_matrix(p, y)
    rows = torch.from_numpy(hardest_cases(p, y, min(n_hard, len(y))))
    sureness, guess = p[rows].max(1)
    cases = test[labelled[rows].to(test.device)]
    gallery.hard_cases = HardCases(*(to_numpy(part) for part in (cases, y[rows], guess, sureness)))


@torch.no_grad()
def encode_in_chunks(dbn: BeliefStack, x: Tensor) -> Tensor:
    """The codes of the highest layer."""
    return torch.cat([dbn.encode(rows) for rows in x.split(CHUNK)])


def _on_device(x: Tensor, dbn: BeliefStack, name: str) -> Tensor:
    if len(x) < 2:
        raise InvalidDataError(f"{name} must hold at least 2 cases. Got {len(x)}.")
    dbn.visible.check_shape(x, name)
    return x.to(dbn.top.weight)
