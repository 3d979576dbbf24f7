"""From a gallery to the sections of the page; a section is there exactly when its data are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from deepbelief.evaluation.gallery import Gallery
from deepbelief.report.blocks import Panel, Panels, Section
from deepbelief.report.charts import confusion, intervals, scatter
from deepbelief.report.histories import curve_panels, stage_curves, stage_times
from deepbelief.report.views import MOST_BAR_UNITS, MOST_SAMPLES, MOST_UNITS, View, make_view

MOST_IN_A_ROW, MOST_CHAINS, MOST_CASES, MOST_DRIVEN, MOST_POINTS = 14, 8, 24, 8, 2000


def make_sections(gallery: Gallery) -> list[Section]:
    """Every section that the gallery has data for, in the order of the page."""
    view = make_view(gallery)
    found = [make(gallery, view) for make in MAKERS]
    return [section for section in found if section is not None]


def _training(gallery: Gallery, view: View) -> Section | None:
    if not (gallery.layers or gallery.data_facts):
        return None
    lead = (
        "The network is a stack: each layer learned to model the codes of the layer below it, from the data (at the "
        "bottom) upwards."
    )
    return Section("model", "What was trained", lead if len(gallery.layers or []) > 2 else "", template="model")


def _numbers(gallery: Gallery, view: View) -> Section | None:
    lead = "Every number says what it is: an estimate is not an exact value, and a bound is only one side of the truth."
    return Section("numbers", "The numbers", lead, template="numbers") if gallery.results else None


def _bounds(gallery: Gallery, view: View) -> Section | None:
    if not gallery.bounds:
        return None
    lead = (
        "How likely the model finds a case, in nats (further right is better). A round dot is an exact value or an "
        "estimate with two standard errors of the method; an arrow head is a bound and points to the side where the "
        "truth lies. A pale band is a bracket of two estimates that err on opposite sides (annealing forward and in "
        "reverse): the narrower, the more it can be trusted."
    )
    told = "; ".join(f"{name} {bound}" for name, bound in gallery.bounds.items())
    chart = intervals(gallery.bounds, "log-likelihood, nats per case", f"Log-likelihoods: {told}")
    note = "; ".join(f"{name}: {bound.method}" for name, bound in gallery.bounds.items() if bound.method)
    return Section("likelihood", "Log-likelihood", lead, [Panels([Panel(chart, note=note)], width=900)])


def _curves(gallery: Gallery, view: View) -> Section | None:
    if not any(stage_curves(rows) for rows in (gallery.histories or {}).values()):
        return None
    assert gallery.histories is not None
    lead = (
        "One panel per quantity that was watched, with a colour per stage of training. Look for curves that level "
        "off; where a dashed curve of held-out cases turns away from the solid one, the model starts to learn the "
        f"training cases by heart. {stage_times(gallery.histories)}"
    )
    return Section("curves", "Learning curves", lead, [curve_panels(gallery.histories)])


def _filters(gallery: Gallery, view: View) -> Section | None:
    if not gallery.filters:
        return None
    section = Section("filters", "What the units look for", view.weights_lead())
    sizes = {str(layer.get("name")): int(layer.get("units", 0)) for layer in gallery.layers or []}
    for i, weights in enumerate(gallery.filters):
        name = f"layer {i + 1}"
        block = view.weights(weights, name)
        most = MOST_UNITS if gallery.image_shape else MOST_BAR_UNITS
        shown, whole = (
            min(len(weights), most),
            max(len(weights), sizes.get(name, 0)),
        )  # a gallery keeps some units' weights
        count = f"{shown} of {whole} units." if shown < whole else f"{whole} units."
        note = gallery.filter_notes[i] if gallery.filter_notes and i < len(gallery.filter_notes) else ""
        block.heading, block.lead = name.capitalize(), f"{note} {count}".strip()
        section.blocks.append(block)
    return section


def _drivers(gallery: Gallery, view: View) -> Section | None:
    layers = [(i, cases) for i, cases in enumerate(gallery.drivers or []) if cases is not None]
    if not layers:
        return None
    lead = (
        "A unit high in the stack has no weights on the data itself. Beside each unit stand the cases that drive it "
        "most, the strongest first: what they share is what the unit stands for."
    )
    section = Section("drivers", "What drives the units", lead)
    for i, cases in layers:
        rows = [(f"unit {unit}", x[:MOST_IN_A_ROW], None) for unit, x in enumerate(cases[:MOST_DRIVEN])]
        block = view.rows(rows)
        block.heading = f"Layer {i + 1}"
        section.blocks.append(block)
    return section


def _samples(gallery: Gallery, view: View) -> Section | None:
    if gallery.samples is None:
        return None
    lead = (
        "Drawn from the model alone, none is a case of the data. A good model's samples look like the data and "
        "differ from each other."
    )
    alt = f"{min(len(gallery.samples), MOST_SAMPLES)} samples drawn from the model"
    return Section("samples", "Samples", lead, [view.many(gallery.samples, alt)])


def _class_samples(gallery: Gallery, view: View) -> Section | None:
    if gallery.class_samples is None:
        return None
    lead = "The label was held fixed while the model drew the rest."
    names = class_names(gallery, len(gallery.class_samples))
    rows = [(name, x[:MOST_IN_A_ROW], None) for name, x in zip(names, gallery.class_samples, strict=True)]
    return Section("class-samples", "Samples of a given class", lead, [view.rows(rows)])


def _chains(gallery: Gallery, view: View) -> Section | None:
    if gallery.chains is None:
        return None
    lead = (
        f"{view.chain} A chain that mixes well wanders from one kind of case to another; one that stays put tells "
        "little about the model."
    )
    frames, steps = gallery.chains.frames[:MOST_CHAINS], gallery.chains.steps
    chosen = spread(len(steps), MOST_IN_A_ROW)
    rows = [(f"chain {i + 1}", x[chosen], None) for i, x in enumerate(frames)]
    return Section("chains", "Chains over time", lead, [view.rows(rows, [f"{step:g}" for step in steps[chosen]])])


def _completions(gallery: Gallery, view: View) -> Section | None:
    if gallery.completions is None:
        return None
    lead = (
        f"Part of each case was hidden ({view.hidden}), and the model filled it in from the rest. It need not find "
        "the original: any completion that goes with the visible part is right."
    )
    part, n = gallery.completions, MOST_IN_A_ROW
    rows = [
        ("original", part.original[:n], None),
        ("given", part.original[:n], part.known[:n]),
        ("completed", part.completed[:n], None),
    ]
    return Section("completions", "Completions", lead, [view.rows(rows)])


def _reconstructions(gallery: Gallery, view: View) -> Section | None:
    if gallery.reconstructions is None:
        return None
    lead = "Each case was encoded by the whole stack and decoded again: what is lost is what the code leaves out."
    part, n = gallery.reconstructions, MOST_IN_A_ROW
    rows = [("original", part.original[:n], None), ("reconstruction", part.reconstruction[:n], None)]
    return Section("reconstructions", "Reconstructions", lead, [view.rows(rows)])


def _confusion(gallery: Gallery, view: View) -> Section | None:
    if gallery.confusion is None:
        return None
    matrix, names = gallery.confusion, class_names(gallery, len(gallery.confusion))
    right, total = float(np.trace(matrix)), float(matrix.sum())
    lead = (
        f"Rows are true classes, columns are predictions: {right:g} of {total:g} cases lie on the diagonal (blue). The "
        "stronger the orange, the more often two classes are taken for each other."
    )
    chart = confusion(matrix, names, f"Confusion matrix: {right:g} of {total:g} cases are classified correctly")
    return Section("confusion", "Confusion matrix", lead, [Panels([Panel(chart)], width=900)])


def _hard_cases(gallery: Gallery, view: View) -> Section | None:
    if gallery.hard_cases is None:
        return None
    part = gallery.hard_cases
    names = class_names(gallery, int(max(part.truth.max(), part.predicted.max())) + 1)
    lead = (
        "The cases that the classifier finds hardest: in bold what the case is, below it what the classifier said and "
        f"with which probability. {view.one}"
    )
    panels = []
    for x, true, guess, p in list(zip(part.x, part.truth, part.predicted, part.probability, strict=True))[:MOST_CASES]:
        is_class, said = names[int(true)], names[int(guess)]
        alt = f"A case of class {is_class}, classified as {said}"
        panels.append(Panel(view.case(x, alt), is_class, f"said {said} ({p:.2f})"))
    return Section("hard-cases", "Hardest cases", lead, [Panels(panels, width=110 if gallery.image_shape else 250)])


def _code_map(gallery: Gallery, view: View) -> Section | None:
    if gallery.code_map is None:
        return None
    part = gallery.code_map
    chosen = spread(len(part.points), MOST_POINTS)
    method = f" by {part.method}" if part.method else ""
    count = f" ({MOST_POINTS} of {len(part.points)} shown)" if len(chosen) < len(part.points) else ""
    lead = (
        f"The codes of the highest layer on a plane{method}{count}. Each point is a case; cases that the model finds "
        "alike lie close together. The labels only colour the points."
    )
    labels = None if part.labels is None else part.labels[chosen]
    chart = scatter(part.points[chosen], labels, gallery.class_names, f"Map of {len(chosen)} codes{method}")
    return Section("codes", "Map of the codes", lead, [Panels([Panel(chart)], width=900)])


def _settings(gallery: Gallery, view: View) -> Section | None:
    if not (gallery.settings or gallery.command):
        return None
    lead = "Everything that is needed to train this model again."
    return Section("settings", "Settings", lead, template="settings")


MAKERS: Sequence[Callable[[Gallery, View], Section | None]] = (
    _training,
    _numbers,
    _bounds,
    _curves,
    _filters,
    _drivers,
    _samples,
    _class_samples,
    _chains,
    _completions,
    _reconstructions,
    _confusion,
    _hard_cases,
    _code_map,
    _settings,
)


def class_names(gallery: Gallery, n: int) -> list[str]:
    """At least `n` names: the gallery's, then the class numbers."""
    given = [str(name) for name in gallery.class_names or []]
    return given + [str(i) for i in range(len(given), n)]


def spread(n: int, most: int) -> np.ndarray:
    """At most `most` of the numbers 0 to n - 1, evenly, with both ends.

    >>> spread(3, 5).tolist(), spread(9, 3).tolist()
    ([0, 1, 2], [0, 4, 8])
    """
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(int)
