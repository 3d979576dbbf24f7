"""A run of a second or two on the built-in digits; as a script, one that kills itself at a chosen step."""

import os
import signal
import sys

from deepbelief.recipes import run as run_file
from deepbelief.recipes.settings import RunSettings
from deepbelief.training.trainer import Trainer

SMALL = {
    "data": {"name": "digits", "binarization": "stochastic", "max_train": 120, "max_test": 60},
    "model": {"layers": [12, 10]},
    "batch_size": 20,
    "learning": {"epochs": 3, "learning_rate": 0.1, "averaging": 0.99},
    "fine_tuning": {"epochs": 4, "batch_size": 20, "dropout": 0.2, "early_stopping": 3},
    "evaluation": {
        "betas": 20,
        "chains": 4,
        "burn_in": 2,
        "bound_samples": 2,
        "samples": 0,
        "chain_steps": 20,
        "features": False,
        "gallery": False,
        "watch_every": 1,
    },
    "device": "cpu",
    "threads": 1,
}


def small(**changes) -> RunSettings:
    """The small settings with some parts changed."""
    return RunSettings.from_dict(SMALL).but(**changes)


def stop_at(steps: int, sign: int) -> None:
    """Send this process a signal after so many training steps."""
    original, done = Trainer._run_step, [0]

    def counted(self, batch):
        original(self, batch)
        done[0] += 1
        if done[0] == steps:
            os.kill(os.getpid(), sign)

    Trainer._run_step = counted


if __name__ == "__main__":
    folder, steps, name = sys.argv[1:4]
    stop_at(int(steps), getattr(signal, name))
    run_file.run(small(), folder, resume=len(sys.argv) > 4, progress=False)
