"""Test nats against seconds of processor time: how long each library takes to reach a likelihood.

An RBM with 500 hidden units on stochastically binarized MNIST, PCD-1, batches and chains of 100, until the test
log-likelihood is -100 nats; `--quick` takes scikit-learn's digits, 16 hidden units and exact log Z. Libraries learn in
turns, on one thread. The clock runs while they learn; drawing the bits and annealing stand outside it and are the
same for all. Each library gets two constant learning rates, and its better one counts. Weights are averaged over about
1,000 updates where the library can. The estimate is forward annealing, which flatters all alike; at the crossing it is
bracketed.

    python benchmarks/quality_against_time.py [--data-dir FOLDER] [--seconds 120] [--quick]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from _measure import set_up
from _peers import installed, rbms, scikit_learn
from torch import Tensor

from deepbelief.data.sets import load_set
from deepbelief.data.source import ArraySource, Source, make_source
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.partition.ais import ais
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import DataNotFoundError
from deepbelief.evaluation.likelihood import chunked_log_likelihood
from deepbelief.protocols import StepContext
from deepbelief.rng import bernoulli, make_generator
from deepbelief.training.averaging import Averaging
from deepbelief.types import Batch, Bound

BATCH, PORTION = 100, 100  # cases in a batch; batches drawn at a time, outside the clock
RATES = {"deepbelief": (0.1, 0.2), "scikit-learn float32": (0.02, 0.1), "rbms": (0.05, 0.2)}


@dataclass(frozen=True)
class Task:
    """What is learned, and when it counts as learned."""

    train: Source
    test: Tensor
    n_hidden: int
    target: float
    temperatures: int | None  # None: log Z is exact


@dataclass
class Learner:
    """A library at one learning rate: its update, and its present weights as a model that can be scored."""

    name: str
    update: Callable[[Tensor], object]
    model: Callable[[], RBM]
    settled: Callable[[], AbstractContextManager[None]] = nullcontext
    seconds: float = 0.0
    epoch: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)
    batches: Iterator[Batch] = field(default_factory=lambda: iter(()))

    def learn_until(self, mark: float, task: Task) -> None:
        """Learn until the clock of this learner stands at `mark` seconds."""
        while self.seconds < mark:
            portion = self._portion(task)
            start = time.process_time()
            for x in portion:
                self.update(x)
            self.seconds += time.process_time() - start

    def _portion(self, task: Task) -> list[Tensor]:
        found: list[Tensor] = []
        while len(found) < PORTION:
            batch = next(self.batches, None)
            if batch is None:
                self.batches = task.train.batches(self.epoch, generator=make_generator(self.epoch))
                self.epoch += 1
            elif len(batch) == BATCH:
                found.append(batch.x)
        return found


def deepbelief(task: Task, rate: float, first: Tensor) -> Learner:
    """This library's procedure, as its loop calls it."""
    generator = make_generator(1)
    rbm = RBM(first.shape[1], task.n_hidden, generator=generator)
    rbm.match_data(task.train.x[:10_000] if isinstance(task.train, ArraySource) else first)
    settings = LearningSettings(n_chains=BATCH, epochs=1, learning_rate=rate, schedule="constant")
    rule, averaged = make_procedure(rbm, settings), Averaging(rbm, 0.999)
    rule.start(Batch(first), generator)

    def update(x: Tensor) -> None:
        rule.step(Batch(x), StepContext(0, 0, 0.0, generator, lambda tensors: None, nullcontext))
        averaged.update()

    return Learner(f"deepbelief, rate {rate}", update, lambda: rbm, averaged.in_place)


def as_rbm(task: Task, w: Tensor, b: Tensor, c: Tensor) -> RBM:
    """Another library's parameters in a model of ours; the test cases' means only start the annealing."""
    rbm = RBM(*w.shape)
    rbm.match_data(task.test)
    with torch.no_grad():
        for own, theirs in ((rbm.weight, w), (rbm.visible.bias, b), (rbm.hidden.bias, c)):
            own.copy_(theirs)
    return rbm


def learners(task: Task, first: Tensor, libraries: Sequence[str]) -> list[Learner]:
    """These libraries, as far as they are here, at both of their rates."""
    makers = {"deepbelief": deepbelief, "scikit-learn float32": _of_scikit_learn, "rbms": _of_rbms}
    here = [name for name in libraries if name != "rbms" or installed("rbms")]
    return [makers[name](task, rate, first) for name in here for rate in RATES[name]]


def _of_scikit_learn(task: Task, rate: float, first: Tensor) -> Learner:
    model, update = scikit_learn(task.n_hidden, first, np.float32, rate)

    def now() -> RBM:
        parts = model.components_.T, model.intercept_visible_, model.intercept_hidden_
        return as_rbm(task, *(torch.from_numpy(np.array(part, dtype=np.float32)) for part in parts))

    return Learner(f"scikit-learn float32, rate {rate}", update, now)


def _of_rbms(task: Task, rate: float, first: Tensor) -> Learner:
    start = task.train.x[:10_000] if isinstance(task.train, ArraySource) else first
    model, update = rbms(task.n_hidden, first, rate, start)
    return Learner(f"rbms, rate {rate}", update, lambda: as_rbm(task, model.weight_matrix, model.vbias, model.hbias))


def nats(task: Task, learner: Learner) -> float:
    """The mean test log-likelihood now, by exact log Z or forward annealing."""
    generator = make_generator(2)
    with learner.settled():
        rbm = learner.model()
        if task.temperatures is None:
            z = log_z(rbm, generator=generator)
        else:
            z = Bound(ais(rbm, n_chains=100, betas=task.temperatures, generator=generator).log_z, "estimate")
        return float(chunked_log_likelihood(rbm, task.test, generator=generator, log_z=z))


def bracketed(task: Task, learner: Learner) -> str:
    """The same with both ends, where log Z is not exact."""
    if task.temperatures is None:
        return ""
    generator = make_generator(3)
    with learner.settled():
        rbm = learner.model()
        z = log_z(rbm, n_chains=100, betas=2 * task.temperatures, samples=task.test[:100], generator=generator)
        found = chunked_log_likelihood(rbm, task.test, generator=generator, log_z=z)
    return f", bracketed by {found.low:.1f} and {found.high:.1f}"


def crossing(curve: list[tuple[float, float]], target: float) -> float | None:
    """When a curve of (seconds, nats) first reaches `target`, between two points on a logarithmic clock."""
    for i, (seconds, value) in enumerate(curve):
        if value >= target:
            if i == 0:
                return seconds
            before, low = curve[i - 1]
            return math.exp(np.interp(target, [low, value], [math.log(before), math.log(seconds)]))
    return None


def digits() -> Task:
    """The quick task."""
    made = load_set("digits", split="train"), load_set("digits", split="test")
    train, test = ((torch.as_tensor(part.x) > 7).float() for part in made)
    return Task(make_source(train, batch_size=BATCH), test, 16, -21.0, None)


def mnist(data_dir: str | None) -> Task:
    """The RBM-500 of the literature; test cases are drawn once."""
    train, test = (
        load_set("mnist", split="train", data_dir=data_dir),
        load_set("mnist", split="test", data_dir=data_dir),
    )
    scale = 1 / 255
    source = make_source(torch.as_tensor(train.x), batch_size=BATCH, scale=scale, transform=bernoulli)
    bits = bernoulli(torch.as_tensor(test.x).float() * scale, make_generator(9))
    return Task(source, bits, 500, -100.0, 1000)


def main() -> None:
    """Learn in turns, print the curves, and the first crossing of each library."""
    parser = argparse.ArgumentParser(description="Test nats against seconds of processor time")
    parser.add_argument("--data-dir", default=None, help="where MNIST is")
    parser.add_argument("--seconds", type=float, default=120.0, help="processor time for each learner (default 120)")
    parser.add_argument("--quick", action="store_true", help="digits instead of MNIST, in seconds")
    parser.add_argument("--points", type=int, default=5, help="of each curve, each at twice the seconds (default 5)")
    parser.add_argument("--libraries", nargs="*", default=list(RATES), choices=RATES)
    options = parser.parse_args()
    set_up(1)
    try:
        task = digits() if options.quick else mnist(options.data_dir)
    except DataNotFoundError as error:
        print(f"MNIST is not measured: {error} Digits instead:")
        options.quick, task = True, digits()
    last = min(options.seconds, 4.0) if options.quick else options.seconds
    marks = [last / 2**i for i in range(options.points - 1, -1, -1)]
    first = next(iter(task.train.batches(0, generator=make_generator(0)))).x
    all_learners = learners(task, first, options.libraries)
    for mark in marks:
        for learner in all_learners:
            if crossing(learner.curve, task.target) is None:
                learner.learn_until(mark, task)
                learner.curve.append((learner.seconds, nats(task, learner)))
                print(f"{learner.name:34}{learner.seconds:>8.2f} s{learner.curve[-1][1]:>9.1f} nats", flush=True)
    print(f"\n{'nats after processor seconds':34}" + "".join(f"{mark:>9.3g}" for mark in marks))
    for learner in all_learners:
        print(f"{learner.name:34}" + "".join(f"{value:>9.1f}" for _, value in learner.curve))
    report(task, all_learners, last)


def report(task: Task, all_learners: list[Learner], last: float) -> None:
    """The better rate of each library, and the ratio to ours."""
    best: dict[str, tuple[float, Learner]] = {}
    for learner in all_learners:
        library, when = learner.name.split(",")[0], crossing(learner.curve, task.target)
        if when is not None and when < best.get(library, (math.inf,))[0]:
            best[library] = when, learner
    print(f"\nseconds to {task.target:g} nats")
    for library in dict.fromkeys(learner.name.split(",")[0] for learner in all_learners):
        if library not in best:
            print(f"{library:34} not within {last:g} s")
            continue
        when, learner = best[library]
        times = f", {when / best['deepbelief'][0]:.1f} times deepbelief" if "deepbelief" in best else ""
        print(f"{library:34}{when:>8.2f} s{times}{bracketed(task, learner)}")


if __name__ == "__main__":
    main()
