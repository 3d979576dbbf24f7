"""Whose log Z it is: the part of a model that has one, and which methods that part can take.

Models are told apart by what they offer and not by their class, so this floor imports none that stands above it.
"""

from __future__ import annotations

from typing import Any

from deepbelief.errors import check

METHODS = ("auto", "exact", "ais", "tempering", "mean_field", "tap")
MANY = (  # what only models with many log Z have; what log Z depends on; what to call instead
    ("word_potential", "the length of the document", "log_z_of_lengths(model, lengths)"),
    ("rbm_given", "the context", "log_z(model.rbm_given(u)) for one context u"),
    ("rbm_of", "the columns that a row has values in", "log_z(model.rbm_of(columns))"),
)
PRODUCTS = ("base", "visible", "hidden", "input_h_from_v", "input_v_from_h")  # what makes two layers of a model


def part_with_log_z(model: Any) -> tuple[Any, str]:
    """What of `model` has a log Z, and whose that is in words ("" for the model's own).

    A deep Boltzmann machine is taken as its two layers (``even_odd()``), a stack as its undirected ``top``, and a model
    around an RBM (``rbm``), such as a classification RBM, as that one.

    Raises `InvalidArgumentError` for a model with a log Z for every case, naming the function that serves, and for one
    without any.

    >>> from deepbelief.energy.rbm import RBM
    >>> rbm = RBM(3, 2)
    >>> part_with_log_z(rbm) == (rbm, "")
    True
    """
    name = type(model).__name__
    for mark, what, instead in MANY:
        check(
            not hasattr(model, mark),
            f"model must have one log Z for all cases. Got {name}, whose log Z depends on {what}. Use {instead} "
            "instead.",
        )
    if hasattr(model, "even_odd"):
        return model.even_odd(), ""
    if hasattr(model, "top"):
        part, whose = model.top, "of the top RBM"
    elif hasattr(model, "rbm") and not has_log_z(model):
        part, whose = model.rbm, "of the joint RBM" if hasattr(model, "joined") else "of its RBM"
    else:
        part, whose = model, ""
    check(
        has_log_z(part),
        f"model must have a log Z that can be found. Got {name}, which has none. Use an RBM, a Boltzmann machine, a "
        "DBM or a DBN instead.",
    )
    return part, whose


def has_log_z(part: Any) -> bool:
    """Whether there is any way to the log Z of `part`."""
    return can_enumerate(part) or can_anneal(part)


def can_enumerate(part: Any) -> bool:
    """Whether `part` lists its states, or sums either of two layers out in closed form."""
    return hasattr(part, "enumerate") or (has_products(part) and hasattr(part, "free_energy_of_h"))


def can_anneal(part: Any) -> bool:
    """Whether a path leads from independent units to `part`."""
    return hasattr(part, "annealing_path") or has_products(part)


def can_temper(part: Any) -> bool:
    """Whether `part` has rungs between independent units and itself: two layers, or a ladder of its own."""
    return hasattr(part, "temperature_ladder") or (has_products(part) and not hasattr(part, "annealing_path"))


def can_expand(part: Any) -> bool:
    """Whether one matrix couples the two layers, as the mean-field expansions need."""
    weight = getattr(part, "weight", None)
    return has_products(part) and weight is not None and weight.shape == (part.visible.size, part.hidden.size)


def has_products(part: Any) -> bool:
    """Whether `part` is two layers of units with products between them."""
    return all(hasattr(part, name) for name in PRODUCTS)


def check_method(part: Any, name: str, method: str) -> None:
    """Refuse a `method` that `part`, of the model called `name`, cannot take; the sentence says which it can.

    >>> from deepbelief.energy.boltzmann import BoltzmannMachine
    >>> check_method(BoltzmannMachine(3), "BoltzmannMachine", "tap")
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: method must be 'auto', 'exact', 'ais' or 'tempering' for \
BoltzmannMachine. Got method='tap'. Use log_z(model, 'auto') instead.
    """
    able = {"auto": True, "exact": can_enumerate(part), "ais": can_anneal(part), "tempering": can_temper(part)}
    able |= dict.fromkeys(("mean_field", "tap"), can_expand(part))
    names = [repr(each) for each in METHODS if able[each]]
    check(
        able[method],
        f"method must be {', '.join(names[:-1])} or {names[-1]} for {name}. Got method={method!r}. "
        "Use log_z(model, 'auto') instead.",
    )
