"""The numbers of a run, each with its kind: likelihoods by layer, classification, completion, samples, features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.stack import BeliefStack
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.data.masks import random_mask
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.evaluation.chain_data import Comparison
from deepbelief.evaluation.chain_findings import FEWEST_COMPARED, judge_chains
from deepbelief.evaluation.chains import ChainDiagnosis
from deepbelief.evaluation.classification import classification_results, regression_results
from deepbelief.evaluation.completion import completion_results
from deepbelief.evaluation.features import feature_results
from deepbelief.evaluation.likelihood import chunked_log_likelihood, likelihood_results, top_states
from deepbelief.evaluation.pictures import picture_half
from deepbelief.evaluation.samples import sample_results
from deepbelief.recipes.run_data import RunData
from deepbelief.recipes.run_fine_tuning import prepared_inputs
from deepbelief.recipes.settings import RunSettings
from deepbelief.rng import make_generator
from deepbelief.training.processes import joined
from deepbelief.types import Bound, Result

EVALUATION_STREAM = 301  # of the run's seed; each part of the evaluation has a stream of its own from here on
MOST_COMPLETED, MOST_TRAINING, MOST_FEATURES = 500, 10_000, 5_000
CHUNK = 2000

Progress = Callable[[str], Callable[[int, int], None]]  # the name of a piece of work -> (done, in all)


@dataclass(frozen=True)
class Trained:
    """What training left: the stack (one RBM is a stack of one), the model to keep, and the network if there is one."""

    dbn: DBN
    kept: DBN | RBM
    classifier: UnrolledDBN | None = None


@dataclass
class Evaluation:
    """The results so far and, by name, the log-likelihood (or its bound) of the stack after each layer."""

    results: list[Result] = field(default_factory=list)
    bounds: dict[str, Bound] = field(default_factory=dict)
    probabilities: Tensor | None = None
    diagnosis: ChainDiagnosis | None = None
    comparison: Comparison | None = None


def model_name(dbn: BeliefStack) -> str:
    """``DBN 64-100-100``, or ``RBM 64-100`` for one layer.

    >>> model_name(DBN.of_sizes([6, 4, 3]))
    'DBN 6-4-3'
    """
    sizes = "-".join(str(size) for size in (dbn.visible.size, *(rbm.hidden.size for rbm in dbn.layers)))
    return f"{'DBN' if len(dbn.layers) > 1 else 'RBM'} {sizes}{' + label' if dbn.n_classes else ''}"


def data_name(data: RunData) -> str:
    """``mnist test, stochastic``: the binarization is part of the name, for it makes another data set."""
    how = data.preparation
    words = [f"{data.name} {data.split}", *([how.scored] if how.scored != "none" else [])]
    words += ["standardized"] if how.spread is not None else []  # a density is one of the scale, too
    return ", ".join([*words, *(["inverted"] if how.inverted else [])])


@torch.no_grad()
def evaluate(
    trained: Trained, data: RunData, settings: RunSettings, device: torch.device, *, progress: Progress
) -> Evaluation:
    """All numbers that `settings.evaluation` asks for, on the held-out cases."""
    found, plan = Evaluation(), settings.evaluation
    bits = data.test_bits(settings.seed).to(device)
    train = train_bits(data, settings, device)
    if data.task is not None:
        _predictions(found, trained, data, settings, device)
    if plan.log_likelihood:
        _likelihoods(found, trained.dbn, bits, train, data, settings, progress)
    names: dict[str, Any] = {"data": data_name(data), "model_name": model_name(trained.dbn)}
    known = completion_mask(data, settings, min(len(bits), MOST_COMPLETED)).to(device)
    progress("completions")(0, 1)
    found.results += completion_results(
        trained.dbn, bits[: len(known)], known, train=train, generator=_stream(settings, 1, device), **names
    )
    if plan.chain_steps and len(bits) >= FEWEST_COMPARED:
        progress("chains")(0, 1)
        _chains(found, trained.dbn, bits, train, settings, device, names)
    if plan.samples and len(bits) >= FEWEST_COMPARED:
        progress("samples")(0, 1)
        n = max(20, min(plan.samples, len(bits) // 2))
        drawn = trained.dbn.sample(n, generator=_stream(settings, 2, device), n_steps=plan.sample_steps)
        found.results += sample_results(drawn, train, bits, generator=_stream(settings, 3, device), **names)
    if plan.features and data.task == "class":
        progress("features")(0, 1)
        _features(found, trained.dbn, data, settings, device, names)
    return found


def train_bits(data: RunData, settings: RunSettings, device: torch.device, n: int = MOST_TRAINING) -> Tensor:
    """The first cases that the model learned from, as it saw them."""
    values = data.train_values(n).to(device)
    return data.preparation.bits(values, _stream(settings, 4, device), seed=settings.seed)


def completion_mask(data: RunData, settings: RunSettings, n: int) -> Tensor:
    """Known entries (n, features): one half of a picture, or a random half of a table's columns for each case."""
    shape = data.preparation.image_shape
    if shape is not None:
        return picture_half(shape, settings.evaluation.completion_mask).expand(n, -1)
    d = data.preparation.n_features
    return random_mask(n, d, min(0.5, (d - 1) / d), make_generator(settings.seed, stream=EVALUATION_STREAM + 9))


def class_probabilities(network: UnrolledDBN, x: Tensor) -> Tensor:
    """``p(y | x)`` by the fine-tuned network, chunk by chunk."""
    network.eval()
    return torch.cat([torch.softmax(network(rows), 1) for rows in x.split(CHUNK)])


def _stream(settings: RunSettings, number: int, device: torch.device) -> torch.Generator:
    return make_generator(settings.seed, device, stream=EVALUATION_STREAM + number)


def _likelihoods(
    found: Evaluation,
    dbn: DBN,
    x: Tensor,
    train: Tensor,
    data: RunData,
    settings: RunSettings,
    progress: Progress,
) -> None:
    plan, generator, peers = settings.evaluation, _stream(settings, 0, x.device), joined()
    depths = range(1, len(dbn.layers) + 1) if plan.each_layer else [len(dbn.layers)]
    rows_by_depth: list[list[Result]] = []
    for depth in depths:
        whole = depth == len(dbn.layers)
        part = dbn if whole else DBN(dbn.layers[:depth])
        name = model_name(part)
        starts = torch.randint(len(x), (plan.chains,), generator=generator, device=generator.device)
        log_z = choose_log_z(
            part.top,
            n_chains=plan.chains,
            betas=plan.betas,
            burn_in=plan.burn_in,
            samples=top_states(part, x[starts], generator),
            generator=generator,
            progress=progress(f"log Z of {name}"),
            processes=peers if peers.world_size > 1 else None,
        )
        found.bounds[name] = chunked_log_likelihood(part, x, generator=generator, log_z=log_z)
        rows_by_depth.append(
            likelihood_results(
                part,
                x,
                data=data_name(data),
                model_name=name,
                generator=generator,
                log_z=log_z,
                baselines=whole,
                train=train,
            )
        )
    found.results += [row for rows in reversed(rows_by_depth) for row in rows]  # the whole model's come first


def _chains(
    found: Evaluation,
    dbn: DBN,
    x: Tensor,
    train: Tensor,
    settings: RunSettings,
    device: torch.device,
    names: dict[str, Any],
) -> None:
    """How chains run and whether they are where the data are; where no samples are drawn, their ends serve as such."""
    plan, generator = settings.evaluation, _stream(settings, 6, device)
    options: dict[str, Any] = {"n_steps": plan.chain_steps, "accuracies": not plan.samples, "generator": generator}
    judged = judge_chains(dbn, train, x, **options, **names)
    found.diagnosis, found.comparison = judged.diagnosis, judged.comparison
    found.results += judged.results


def _predictions(
    found: Evaluation, trained: Trained, data: RunData, settings: RunSettings, device: torch.device
) -> None:
    y = data.test_y
    if y is None:
        return
    labelled = (y >= 0).nonzero()[:, 0] if data.task == "class" else torch.arange(len(y))
    name, truth = model_name(trained.dbn), y[labelled]
    if trained.dbn.n_classes:
        p = trained.dbn.classify(data.test_bits(settings.seed)[labelled].to(device))
        top = f"{name}, by the label's free energy"
        found.results += classification_results(p, truth, data=data_name(data), model_name=top)
        found.probabilities = p
    if trained.classifier is None or settings.fine_tuning is None:
        return
    plan, how = settings.fine_tuning, data.preparation
    x = prepared_inputs(data.test[labelled].to(device), how, plan, settings.seed + 1)
    shown = f"{data.name} {data.split}" + (f", {plan.binarization}" if plan.binarization != "none" else "")
    how_many = f" on {plan.n_labels} labels" if plan.n_labels else ""
    name = f"{name}, {'fine-tuned' if plan.pretrained else 'from random weights'}{how_many}"
    if data.task == "class":
        found.probabilities = class_probabilities(trained.classifier, x)
        found.results += classification_results(found.probabilities, truth, data=shown, model_name=name)
        return
    guess = torch.cat([trained.classifier(rows) for rows in x.split(CHUNK)]).cpu().reshape(truth.shape)
    back = lambda t: t * how.target_spread + how.target_shift  # noqa: E731
    found.results += regression_results(back(guess), back(truth), data=shown, model_name=name)


def _features(
    found: Evaluation, dbn: DBN, data: RunData, settings: RunSettings, device: torch.device, names: dict[str, Any]
) -> None:
    """Codes of the values before bits are drawn: the means of the inputs, which carry less noise."""
    assert data.train_y is not None
    assert data.test_y is not None
    n = min(len(data.train), MOST_FEATURES)
    pairs = []
    for values, y in ((data.train_values(n), data.train_y[:n]), (data.test, data.test_y)):
        pairs.append((data.preparation.shown(values)[y >= 0], y[y >= 0]))
    (train, y), (test, truth) = pairs
    codes = [dbn.encode(x.to(device)).cpu() for x in (train, test)]
    found.results += feature_results(
        codes[0],
        y,
        codes[1],
        truth,
        generator=_stream(settings, 5, torch.device("cpu")),
        raw=(train, test),
        **{**names, "data": f"{data.name} {data.split}"},
    )
