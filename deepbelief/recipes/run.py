"""One whole run: data, greedy learning, fine-tuning, evaluation, and a folder with all that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import LayerReport, LayerSource, train_greedily
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.data.source import make_source
from deepbelief.energy.chain_watch import CHAIN_QUANTITIES
from deepbelief.energy.rbm import RBM
from deepbelief.energy.watch import make_watch
from deepbelief.errors import InvalidArgumentError
from deepbelief.recipes import run_folder as files
from deepbelief.recipes.run_data import RunData, load_run_data
from deepbelief.recipes.run_evaluation import Evaluation, Trained, data_name, evaluate, model_name, train_bits
from deepbelief.recipes.run_fine_tuning import fine_tune, labelled_rows, make_classifier
from deepbelief.recipes.run_gallery import make_gallery
from deepbelief.recipes.run_progress import Narrator
from deepbelief.recipes.settings import RunSettings
from deepbelief.rng import make_generator
from deepbelief.storage import save_model
from deepbelief.training.callbacks import Callback, Watch
from deepbelief.training.processes import connect, joined
from deepbelief.types import Result
from deepbelief.units.catalog import make_units

WEIGHT_STREAM, WATCH_STREAM = 401, 402  # of the run's seed
MOST_WATCHED = 1000
FINE_TUNING = "fine-tuning"

Histories = dict[str, list[dict[str, Any]]]


def run(
    settings: RunSettings,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | str = True,
    command: str = "",
) -> list[Result]:
    """Do what `settings` say, keep everything in `folder`, and return the results.

    Under ``torchrun`` all processes call this and learn together; the first one writes and speaks.
    With `resume`, an interrupted run in `folder` continues from its checkpoints as if it had never stopped (bit for bit
    on a CPU), and a finished one gives its results back. `overwrite` replaces an older run there. `progress` is True
    (bars on a terminal), "plain" or False. Ctrl-C raises `KeyboardInterrupt` once a checkpoint is written.
    """
    peers, threads = connect(settings.device, settings.precision), torch.get_num_threads()
    folder, narrator = Path(folder), Narrator(progress if peers.rank == 0 else False)
    try:
        torch.set_num_threads(settings.threads or threads)
        # One process opens the folder for all: the others would find it in use.
        finished = peers.rank == 0 and files.open_folder(settings, folder, resume=resume, overwrite=overwrite)
        if peers.share(finished):
            narrator.say(f"The run in {folder} is finished; these are its results.")
            return files.read_results(folder)
        data = load_run_data(settings, progress=bool(narrator.progress))
        dbn = build_model(settings, data)
        if settings.fine_tuning is not None:
            labelled_rows(data, settings)  # whether labels will do is said before hours of learning, not after
        return _run(settings, data, dbn, peers.device, folder, resume, narrator, command)
    finally:
        torch.set_num_threads(threads)
        narrator.close()


def build_model(settings: RunSettings, data: RunData) -> DBN:
    """The stack that `settings` describe for `data`, with small random weights; one RBM is a stack of one."""
    plan, how = settings.model, data.preparation
    visible = make_units(plan.visible, how.n_features, n_values=plan.n_values)
    _check_tied(settings, how.n_features)
    n_classes = data.n_classes if plan.labels_in_top else None
    if plan.labels_in_top and n_classes is None:
        raise InvalidArgumentError(
            f"model.labels_in_top needs labels that are classes. Got none in {data.name}. Name the label column."
        )
    hidden = [make_units(plan.hidden, size, n_values=plan.n_values) for size in plan.layers]
    return DBN.of_units([visible, *hidden], n_classes, generator=make_generator(settings.seed, stream=WEIGHT_STREAM))


def _check_tied(settings: RunSettings, n_features: int) -> None:
    plan = settings.model
    if not plan.tied or len(plan.layers) == 1:
        return
    of_bits = plan.visible == "bernoulli"
    if plan.labels_in_top or plan.hidden != "bernoulli" or not (of_bits or len(plan.layers) > 2):
        raise InvalidArgumentError(
            "model.tied needs bernoulli hidden units, over bernoulli data or in at least 3 layers, and no labels in "
            f"the top. Got {plan.visible} data, {plan.hidden} units, {len(plan.layers)} layers, "
            f"labels_in_top={plan.labels_in_top}. Use tied: false."
        )
    sizes = [*([n_features] if of_bits else []), *plan.layers]  # the layer on other data is not tied
    for below, above in zip(sizes, sizes[2:], strict=False):
        if above < below:
            raise InvalidArgumentError(
                f"model.layers must not shrink over two layers when tied. Got {above} above {below}. Use tied: false."
            )


def _run(
    settings: RunSettings,
    data: RunData,
    dbn: DBN,
    device: torch.device,
    folder: Path,
    resume: bool,
    narrator: Narrator,
    command: str,
) -> list[Result]:
    kept: DBN | RBM = dbn if settings.model.kind == "dbn" else dbn.top
    histories = _learn_layers(settings, data, dbn.to(device), device, folder, resume, narrator)
    first = joined().rank == 0
    if first:
        _save(kept, folder / files.MODEL, data, settings, [])
    classifier = None
    if settings.fine_tuning is not None:
        narrator.say(f"[bold]Fine-tuning[/bold] on {len(labelled_rows(data, settings)[0]):,} labelled cases")
        classifier = make_classifier(dbn, data, settings)
        where = folder / files.CHECKPOINTS / FINE_TUNING
        options: dict[str, Any] = {"resume": resume, "progress": narrator.progress, "device": device}
        histories[FINE_TUNING] = fine_tune(classifier, data, settings, where, **options).history
        if first:
            _save(classifier, folder / files.CLASSIFIER, data, settings, [])
    narrator.say(f"[bold]Evaluation[/bold] on {len(data.test):,} held-out cases")
    trained = Trained(dbn, kept, classifier)
    found = evaluate(trained, data, settings, device, progress=narrator.piece)
    if first:
        _keep(trained, found, histories, data, settings, device, folder, narrator, command)
    return found.results


def _learn_layers(
    settings: RunSettings,
    data: RunData,
    dbn: DBN,
    device: torch.device,
    folder: Path,
    resume: bool,
    narrator: Narrator,
) -> Histories:
    plans = settings.plans()

    def announce(number: int) -> None:
        if number <= len(plans):
            rbm, plan = dbn.layers[number - 1], plans[number - 1]
            sizes = f"{rbm.visible.size} {rbm.visible.kind} - {rbm.hidden.size} {rbm.hidden.kind}"
            narrator.say(f"[bold]Layer {number}[/bold] of {len(plans)}: {sizes} by {plan.rule}, {plan.epochs} epochs")

    def after(report: LayerReport) -> None:
        announce(report.layer + 1)

    announce(1)
    reports = train_greedily(
        dbn,
        data.source(settings.batch_size, settings.seed, device),
        plans,
        tied=settings.model.tied,
        seed=settings.seed,
        checkpoint_dir=folder / files.CHECKPOINTS,
        resume=resume,
        callbacks=lambda layer, rbm, _: _watch(settings, data, dbn, layer, rbm, device),
        after_layer=after,
        trainer_options={
            "device": settings.device,
            "precision": settings.precision,
            "threads": settings.threads,
            "progress": narrator.progress,
            "checkpoint_every": ("epoch", settings.checkpoint_every),
        },
    )
    return {f"layer {report.layer}": report.record.history for report in reports}


def _watch(
    settings: RunSettings, data: RunData, dbn: DBN, layer: int, rbm: RBM, device: torch.device
) -> Sequence[Callback]:
    """Numbers on training and held-out cases as this layer sees them, at every few epochs; of its chains, three times.

    Those of chains cost a hundred sweeps each.
    """
    plan = settings.evaluation
    if not plan.watch_every or not plan.watch:
        return []
    train = train_bits(data, settings, device, MOST_WATCHED)
    held_out = data.test_bits(settings.seed)[:MOST_WATCHED].to(device)
    pairs = ((train, data.train_y), (held_out, data.test_y))
    ours, others = (_lift(x, None if y is None else y[: len(x)], dbn, layer - 1, settings, device) for x, y in pairs)
    measure = make_watch(rbm, ours, others, plan.watch, seed=settings.seed, betas=plan.betas)
    if not plan.chain_steps or set(CHAIN_QUANTITIES) & set(plan.watch):
        return [Watch(plan.watch_every, measure)]
    chains = make_watch(rbm, ours, quantities=CHAIN_QUANTITIES, seed=settings.seed)
    return [Watch(plan.watch_every, measure), Watch(max(1, settings.plans()[layer - 1].epochs // 2), chains)]


def _lift(
    x: torch.Tensor, y: torch.Tensor | None, dbn: DBN, layer: int, settings: RunSettings, device: torch.device
) -> torch.Tensor:
    """`x` as layer `layer` (from 0) of the stack sees it."""
    y = y if dbn.n_classes else None
    source = LayerSource(make_source(x, y, batch_size=len(x), shuffle=False, device=device), dbn, layer)
    generator = make_generator(settings.seed, device, stream=WATCH_STREAM)
    return next(iter(source.batches(0, generator=generator))).x


def _save(
    model: torch.nn.Module, folder: Path, data: RunData, settings: RunSettings, results: Sequence[Result]
) -> None:
    """The model with its card, and beside it how raw columns come to it."""
    facts = {"data": data_name(data), "cases": len(data.train), "seed": settings.seed}
    numbers = {f"{row.quantity}, {row.model} on {row.data}": _number(row) for row in results if row.value is not None}
    save_model(model, folder, card={**facts, **numbers})
    how = data.preparation
    if settings.fine_tuning is not None and isinstance(model, UnrolledDBN):
        how = replace(how, binarization=settings.fine_tuning.binarization)
    how.write(folder)


def _number(row: Result) -> str:
    error = f" +- {row.stderr:.2g}" if row.stderr else ""
    return f"{row.value:.4g}{error} {row.unit} ({row.kind})"


def _keep(
    trained: Trained,
    found: Evaluation,
    histories: Histories,
    data: RunData,
    settings: RunSettings,
    device: torch.device,
    folder: Path,
    narrator: Narrator,
    command: str,
) -> None:
    """Write everything, the results last: they mark the run as finished."""
    mine = [row for row in found.results if row.model.startswith(model_name(trained.dbn))]
    _save(trained.kept, folder / files.MODEL, data, settings, mine)
    if trained.classifier is not None:
        _save(trained.classifier, folder / files.CLASSIFIER, data, settings, mine)
    files.write_json(folder / files.HISTORY, histories)
    if settings.evaluation.gallery:
        narrator.piece("pictures")(0, 1)
        gallery = make_gallery(trained, found, histories, data, settings, device, command)
        gallery.to_folder(folder / files.GALLERY)
    files.write_results(folder, found.results)
