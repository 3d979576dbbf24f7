"""A small training with everything that has a state: dropout, noisy data, momentum, averaging, early stopping.

As a script: ``small_training.py OUT [key=value ...]`` trains and writes the outcome of this process to OUT.RANK.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from deepbelief.data.source import ArraySource
from deepbelief.networks.dense import DenseNetwork
from deepbelief.storage import write_state
from deepbelief.training.callbacks import Callback, EarlyStopping
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch

N_CASES, BATCH_SIZE = 61, 10
REGRESSIONS = ((False, "sgd"), (True, "adam"), (True, "lbfgs"))


class SignalAt(Callback):
    """Sends this very process a signal after one chosen step, and remembers every step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            os.kill(os.getpid(), self.number)


def add_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def make_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N_CASES, 6, generator=generator)
    return x, (x @ torch.randn(6, 3, generator=generator)).argmax(1)


def make_network(dropout: float = 0.3) -> DenseNetwork:
    generator = torch.Generator().manual_seed(2)
    return DenseNetwork((6, 16), activation="tanh", dropout=(0.0, dropout), output=3, generator=generator)


def train(*, resume_from: Any = None, callbacks: Any = (), optimizer: str = "adam", **settings: Any) -> dict[str, Any]:
    """Train anew or from a checkpoint, and return the whole outcome but the times."""
    x, y = make_data()
    source = ArraySource(x, y, batch_size=BATCH_SIZE, transform=add_noise)
    procedure = SupervisedProcedure(make_network(), optimizer=optimizer, learning_rate=0.02, schedule="cosine")
    stopping = EarlyStopping("loss", mode="max", patience=50, restore_best=False)  # best at the start
    trainer = Trainer(averaging=0.9, progress=False, callbacks=[stopping, *callbacks], **settings)
    trainer.fit(procedure, source, resume_from=resume_from)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.record.history]
    return {
        "module": procedure.module.state_dict(),
        "procedure": procedure.state_dict(),
        "history": rows,
        "stopping": stopping.state_dict(),
        "cases": trainer.record.cases,
        "rank": trainer.rank,
    }


class Regression:
    """Cases of a linear regression in float64, shared out in turns; 31 of them, so the shares are unequal."""

    n_cases = 31

    def __init__(self, weighted: bool) -> None:
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(31, 4, dtype=torch.float64, generator=generator)
        self.y = torch.randn(31, 2, dtype=torch.float64, generator=generator)
        self.weight = torch.rand(31, dtype=torch.float64, generator=generator) if weighted else None

    def __len__(self) -> int:
        return 1

    def batches(
        self, epoch: int, *, start: int = 0, generator: torch.Generator, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        mine = torch.arange(rank, 31, world_size)
        for _ in range(start, 1):
            yield Batch(self.x[mine], self.y[mine], None if self.weight is None else self.weight[mine])


def regress(weighted: bool, optimizer: str, **settings: Any) -> dict[str, Any]:
    """Linear regression by full-batch steps, the same for any number of processes."""
    network = DenseNetwork((4,), output=2).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    procedure = SupervisedProcedure(network, loss="mse", optimizer=optimizer, learning_rate=0.05, weight_decay=0.01)
    trainer = Trainer(epochs=6, progress=False, device="cpu", **settings)
    record = trainer.fit(procedure, Regression(weighted))
    return {"module": network.state_dict(), "loss": record.column("loss"), "rank": trainer.rank}


def main() -> None:
    out, *pairs = sys.argv[1:]
    settings: dict[str, Any] = dict(pair.split("=", 1) for pair in pairs)
    for name in ("epochs", "checkpoint_every", "max_steps", "kill_at", "devices"):
        if name in settings:
            settings[name] = int(settings[name])
    kill_at = settings.pop("kill_at", None)
    callbacks = [] if kill_at is None else [SignalAt(kill_at, signal.SIGKILL)]
    outcome = {}
    if settings.pop("regressions", "no") == "yes":
        outcome = {"regressions": [regress(*kind, devices=settings.get("devices", "auto")) for kind in REGRESSIONS]}
    outcome |= train(callbacks=callbacks, **settings)
    write_state(f"{out}.{outcome['rank']}", outcome)


if __name__ == "__main__":
    main()
