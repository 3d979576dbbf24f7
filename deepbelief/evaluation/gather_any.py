"""Fill a `Gallery` from any energy-based model: what `gather` makes of a stack, as far as a family has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepbelief.belief.stack import BeliefStack
from deepbelief.energy.rbm import RBM
from deepbelief.evaluation.advice import give_advice
from deepbelief.evaluation.gallery import Chains, Gallery
from deepbelief.evaluation.gather import GalleryBudget, add_classification, as_states, data_facts, gather
from deepbelief.evaluation.likelihood import independent_log_likelihood
from deepbelief.evaluation.measured import random_rows, to_numpy
from deepbelief.evaluation.pictures import chain_frames, class_samples, completions, geometric_steps, reconstructions

OF_ADVICE = ("learning", "diagnosis", "comparison")


def gather_any(
    model: Any,
    train: Tensor,
    test: Tensor,
    *,
    title: str,
    generator: torch.Generator,
    image_shape: Sequence[int] | None = None,
    y_test: Tensor | None = None,
    budget: GalleryBudget | None = None,
    **known: Any,
) -> Gallery:
    """The gallery of a model with chains, from cases (cases, features) as its units see them.

    A stack or an RBM gets all that `gather` makes. Others get their chains over time, samples (of each class where they
    know classes), completions, reconstructions, weights on the data, and the same advice. `known` is what `gather`
    takes beside (histories, results, bounds, learning, diagnosis, comparison, texts); nothing is annealed here.

    >>> from deepbelief.energy.dbm import DBM
    >>> x, generator = torch.ones(30, 4), torch.Generator().manual_seed(0)
    >>> page = gather_any(DBM([4, 3, 2]), x, x, title="A machine", generator=generator, budget=GalleryBudget(steps=10))
    >>> [layer["units"] for layer in page.layers], page.samples.shape
    ([4, 3, 2], (64, 4))
    """
    known.setdefault("bounds", {})
    if isinstance(model, BeliefStack | RBM):
        options: dict[str, Any] = {"y_test": y_test, "image_shape": image_shape, "budget": budget}
        return gather(model, train, test, title=title, generator=generator, **options, **known)
    plan = budget or GalleryBudget()
    some = random_rows(len(test), plan.scored_cases, generator).to(test.device)
    states, steps = as_states(model.visible, test[some], generator), geometric_steps(plan.steps, plan.frames)
    frames = chain_frames(model, states[: plan.chains], steps, generator=generator)
    of_advice = {name: known.pop(name, None) for name in OF_ADVICE}
    gallery = Gallery(
        title,
        image_shape=None if image_shape is None else tuple(image_shape),
        layers=layer_facts(model),
        chains=Chains(to_numpy(frames[: plan.chains_shown]), to_numpy(torch.tensor(steps))),
        samples=to_numpy(model.sample(plan.samples, generator=generator, n_steps=plan.steps, mean=True)),
        class_samples=class_samples(model, plan.samples_per_class, plan.steps, generator=generator),
        completions=completions(model, test[some[: plan.cases]], image_shape, generator=generator),
        reconstructions=reconstructions(model, test[some[: plan.cases]]) if has_codes(model) else None,
        filters=weights_on_data(model, plan.units),
        **{"data_facts": data_facts(train, test, None), **known},
    )
    if getattr(model, "n_classes", None):
        add_classification(gallery, model, None, test, y_test, plan.hard_cases)
    baseline = independent_log_likelihood(model.visible, train, states)
    told: dict[str, Any] = {"bounds": gallery.bounds, "histories": gallery.histories, "results": gallery.results}
    gallery.advice += give_advice(model, states, frames, steps, baseline=baseline, **told, **of_advice)
    gallery.check()
    return gallery


def has_codes(model: Any) -> bool:
    """Whether the model has hidden units to encode by."""
    return hasattr(model, "encode") and getattr(model, "hidden", model) is not None


def layer_facts(model: Any) -> list[dict[str, Any]]:
    """Name, units and kind of each layer from the data up; labels beside the layer that they join."""
    if hasattr(model, "units"):
        layers = list(model.units)
    elif hasattr(model, "layers"):
        layers = [model.visible, *(rbm.hidden for rbm in model.layers)]
    else:
        layers = [units for units in (model.visible, model.hidden) if units is not None]
    names = ["data", *(f"layer {i}" for i in range(1, len(layers)))]
    facts = [{"name": n, "units": u.size, "kind": u.kind} for n, u in zip(names, layers, strict=True)]
    if getattr(model, "n_classes", None):
        facts.insert(-1, {"name": "labels", "units": model.n_classes, "kind": "categorical"})
    return facts


@torch.no_grad()
def weights_on_data(model: Any, most: int) -> list[Any] | None:
    """The first hidden layer's weights, (units, features), of the largest ones; None without a matrix of them."""
    if hasattr(model, "weights"):
        weight = model.weights[0]
    elif hasattr(model, "joined"):
        weight = model.rbm.weight[: model.n_features]
    else:
        return None
    if weight.ndim != 2:  # filters
        return None
    units = weight.T
    if len(units) > most:
        units = units[units.norm(dim=1).topk(most).indices]
    return [to_numpy(units)]
