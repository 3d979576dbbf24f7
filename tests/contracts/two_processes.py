"""Every training of `wings` in one process or in several: with noise that belongs to cases, whole, and resumed.

As a script: ``two_processes.py OUT`` writes what this process holds to OUT.RANK, and checkpoints beside it.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from deepbelief.adversarial.cycle_learning import History
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.gan import GAN
from deepbelief.recipes.fit_model import FitSettings, fit_model
from deepbelief.storage import write_state
from deepbelief.training.optimization import Descent
from deepbelief.training.processes import connect
from tests.contracts import wings

DRAWS = ("rand", "randn", "randint")
CRASH_AT = 4  # the checkpoint of step 3 lies in the middle of the second epoch


@contextlib.contextmanager
def noise_by_case(rank: int, world_size: int) -> Iterator[None]:
    """Every draw is that of the whole batch, of which each process takes the rows of its own cases.

    Rows of cases are axes of an odd multiple of a share's size (some draws for each case); other axes are as they are.
    """
    share = wings.BATCH // world_size
    calls = itertools.count()

    def rows(size: int) -> bool:
        return size % share == 0 and (world_size == 1 or size // share % 2 == 1)

    def wrap(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def drawn(*args: Any, generator: Any = None, **options: Any) -> Tensor:
            *before, wanted = args
            shape = (wanted,) if isinstance(wanted, int) else tuple(wanted)
            axes = [axis for axis, size in enumerate(shape) if rows(size)]
            assert len(axes) < 2, shape
            own = torch.Generator().manual_seed(next(calls))
            if not axes:
                return draw(*before, shape, generator=own, **options)
            axis, times = axes[0], shape[axes[0]] // share
            whole = (*shape[:axis], times, wings.BATCH, *shape[axis + 1 :])
            part = draw(*before, whole, generator=own, **options).narrow(axis + 1, rank * share, share)
            return part.flatten(axis, axis + 1).contiguous()

        return drawn

    with contextlib.ExitStack() as patches:
        for name in DRAWS:
            patches.enter_context(mock.patch.object(torch, name, wrap(getattr(torch, name))))
        yield


def with_noise_by_case(name: str, rank: int = 0, world_size: int = 1) -> dict[str, Any]:
    """What a model holds after learning with noise that belongs to the cases."""
    return wings.train(name, noise=noise_by_case(rank, world_size))["module"]


def estimated() -> dict[str, Any]:
    """An estimator learns in as many processes as there are, from an order of the cases that all know."""
    with contextlib.suppress(InvalidArgumentError):
        GAN(2).fit(wings.bits().numpy())
        raise AssertionError("two processes drew two orders of the cases")
    gan = GAN(2, hidden_layer_sizes=(5,), epochs=2, batch_size=wings.BATCH, device="cpu", random_state=0)
    return dict(gan.fit(wings.bits().numpy()).module_.state_dict())


def fit_by_name(folder: Path) -> None:
    """What `deepbelief fit` does, in as many processes as there are."""
    arguments = {"epochs": 1, "batch_size": 700, "hidden_layer_sizes": [5], "device": "cpu"}
    fit_model(FitSettings("GAN", "digits", arguments=arguments), folder)


def at_home(own: Tensor, context: Any) -> Tensor:
    """A mean over this process's cases that is taken for that over all."""
    return own


def step_without_travellers(self: Descent, loss: Tensor, context: Any, travellers: Any = ()) -> None:
    """A step that averages the gradients alone."""
    STEP(self, loss, context)


STEP = Descent.step
BUGS: dict[str, tuple[str, Any]] = {  # what must travel and stays at home, where it shows
    "statistics": (
        "dcgan, batch norm in both",
        mock.patch("deepbelief.training.trainer.average_statistics"),
    ),
    "offsets": ("rbm vae, relaxed", mock.patch.object(Descent, "step", step_without_travellers)),
    "history": ("cycle gan, history", mock.patch.object(History, "share_out")),
    "rates": (
        "autoencoder, sparse, denoising, contractive",
        mock.patch("deepbelief.autoencoders.learning.joint_mean", at_home),
    ),
    "free bits": ("vae, free bits", mock.patch("deepbelief.autoencoders.elbo.joint_mean", at_home)),
}


def with_bugs(rank: int, world_size: int) -> dict[str, Any]:
    """What the models hold where something stays at home."""
    states = {}
    for bug, (name, patch) in BUGS.items():
        noise = noise_by_case(rank, world_size) if wings.WINGS[name].by_case and bug != "offsets" else None
        with patch:
            states[bug] = wings.train(name, noise=noise)
    return states


def main(out: str) -> None:
    """All trainings; each process writes what it holds, and offers its checkpoints in a folder of its own."""
    peers = connect("cpu")
    ours, folder = (peers.rank, peers.world_size), Path(out).parent
    by_case = [name for name in wings.EVERY if name == wings.STACK or wings.WINGS[name].by_case]
    states: dict[str, Any] = {"by case": {name: with_noise_by_case(name, *ours) for name in by_case}}
    states |= {"estimator": estimated(), "bugs": with_bugs(*ours), "resumed": {}}
    fit_by_name(folder / "fit")
    states["whole"] = {name: wings.train(name) for name in wings.EVERY}
    for number, name in enumerate(wings.EVERY):
        with contextlib.suppress(wings.PulledPlugError):
            wings.train(name, crash_at=CRASH_AT, checkpoint_dir=folder / f"{peers.rank}-{number}")
        states["resumed"][name] = wings.train(name, resume_from=folder / f"0-{number}")
    write_state(f"{out}.{peers.rank}", states)


if __name__ == "__main__":
    main(sys.argv[1])
