"""Up-down as a training: it learns, resumes bit for bit, follows its schedule and refuses what it cannot do."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.untied import UntiedDBN
from deepbelief.belief.up_down import UpDownLearning
from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.storage import state_to_bytes
from deepbelief.training.callbacks import Callback
from deepbelief.training.schedules import linear
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.belief.conftest import STACKS
from tests.oracle import stack, untied
from tests.oracle.checks import make_context


def network(name: str, generator: torch.Generator) -> UntiedDBN:
    return untied.tiny_untied(*STACKS[name], generator)


def patterns() -> Tensor:
    """Data with structure: two copies of three bits, the second one inverted now and then."""
    generator = torch.Generator().manual_seed(7)
    half = (torch.rand(60, 3, generator=generator) < 0.5).float()
    flip = torch.rand(60, 1, generator=generator) < 0.3
    return torch.cat([half, torch.where(flip, 1 - half, half)], 1)


def train(net: UntiedDBN, negative: Any = None, **settings: Any) -> dict[str, Any]:
    """An up-down training on the patterns, labelled by their second halves' kind."""
    x = patterns()
    y = (x[:, :3] == x[:, 3:]).all(1).long() if net.n_classes else None
    options = {k: settings.pop(k) for k in ("k", "learning_rate", "momentum", "l2", "optimizer") if k in settings}
    procedure = UpDownLearning(net, negative, schedule=linear(1.0), **options)
    resume = settings.pop("resume_from", None)
    trainer = Trainer(progress=False, device="cpu", **settings)
    trainer.fit(procedure, ArraySource(x, y, batch_size=25), resume_from=resume)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.record.history]
    return {"module": net.state_dict(), "procedure": procedure.state_dict(), "history": rows}


def small(n_classes: int | None = None) -> UntiedDBN:
    return UntiedDBN.from_dbn(DBN.of_sizes([6, 4, 5], n_classes, generator=torch.Generator().manual_seed(1)))


def test_learning_raises_the_exact_likelihood_and_the_bound() -> None:
    net, x = small(), patterns().double()
    before = untied_numbers(net, x)
    independent = torch.distributions.Bernoulli(x.mean(0)).log_prob(x).sum(1).mean().item()
    train(net, epochs=300, learning_rate=0.5, momentum=0.9, k=[1, 3])
    bound, log_p = untied_numbers(net, x)
    assert bound > max(*before, independent)  # more was learned than the rates of the bits
    assert log_p > bound


def untied_numbers(net: UntiedDBN, x: Tensor) -> tuple[float, float]:
    twin = UntiedDBN.from_config(net.config()).double()
    twin.load_state_dict(net.state_dict())
    none = [None] * len(x)
    return untied.bound(twin, x, none).mean().item(), untied.log_likelihood(twin, x, none).mean().item()


@pytest.mark.parametrize(("persistent", "optimizer"), [(False, "sgd"), (True, "sgd"), (False, "adam")])
def test_resumed_is_never_stopped(persistent: bool, optimizer: str, tmp_path: Path) -> None:
    make = lambda: PersistentChains(7, start_at="data") if persistent else None
    plan: dict[str, Any] = {"epochs": 6, "learning_rate": 0.1, "momentum": 0.5, "k": [1, 2, 4], "l2": 1e-3}
    plan["optimizer"] = optimizer
    whole = train(small(2), make(), **plan)
    with pytest.raises(KeyboardInterrupt):
        train(small(2), make(), callbacks=[StopAt(10)], checkpoint_dir=tmp_path, **plan)
    assert state_to_bytes(train(small(2), make(), resume_from=tmp_path, **plan)) == state_to_bytes(whole)


class StopAt(Callback):
    """Interrupts after one step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_the_chains_take_more_steps_as_learning_goes(generator: torch.Generator) -> None:
    procedure = UpDownLearning(network("bernoulli", generator))
    assert [procedure.steps_at(p) for p in (0.0, 0.33, 0.34, 0.66, 0.67, 0.99, 1.0)] == [3, 3, 6, 6, 10, 10, 10]
    procedure.step(Batch(stack.states_of(procedure.model.visible)), make_context(generator, progress=0.5))
    assert procedure.negative.k == 6


def test_impossible_settings_get_a_sentence(generator: torch.Generator) -> None:
    net = network("labels", generator)
    with pytest.raises(InvalidArgumentError, match="k must hold at least 1"):
        UpDownLearning(net, k=[])
    with pytest.raises(InvalidArgumentError, match="k must be at least 1"):
        UpDownLearning(net, k=[3, 0])
    with pytest.raises(InvalidArgumentError, match="recognition_rate must be at least 0"):
        UpDownLearning(net, recognition_rate=-1)
    with pytest.raises(InvalidArgumentError, match="discriminative needs labels in the top"):
        UpDownLearning(network("bernoulli", generator), discriminative=1.0)
    with pytest.raises(InvalidArgumentError, match="adversarial needs discriminative above 0"):
        UpDownLearning(network("bernoulli", generator), adversarial=0.1)
    with pytest.raises(InvalidDataError, match="y must be given"):
        UpDownLearning(net).step(Batch(stack.states_of(net.visible)), make_context(generator))
