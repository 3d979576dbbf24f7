"""A small training and annealing that the distributed test starts in one and in two processes."""

from __future__ import annotations

import sys
from typing import Any

import torch

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.partition.ais import ais, reverse_ais
from deepbelief.energy.partition.lengths import anneal_up, log_z_of_lengths
from deepbelief.energy.partition.tempering import tempered_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.rng import make_generator
from deepbelief.storage import write_state
from deepbelief.training.processes import Processes, connect
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch, Bound

N_CHAINS, BETAS = 400, 30
LENGTHS = (1, 3, 8, 20, 60)


def data() -> torch.Tensor:
    """200 cases of 6 units from a fixed mixture of two patterns."""
    generator = make_generator(7)
    p = torch.tensor([[0.9, 0.9, 0.8, 0.1, 0.2, 0.1], [0.1, 0.2, 0.1, 0.8, 0.9, 0.9]])
    which = torch.randint(2, (200,), generator=generator)
    return (torch.rand(200, 6, generator=generator) < p[which]).float()


def train(learning: str, seed: int) -> RBM:
    """An RBM trained for a few epochs; with "exact" learning nothing is random but the order of the cases."""
    rbm = RBM(6, 3, generator=make_generator(1))
    rbm.match_data(data())
    ahead = learning == "ahead"
    rule = "pcd" if ahead else learning
    settings = LearningSettings(learning=rule, epochs=30, learning_rate=0.2, n_chains=40, ahead=ahead)
    trainer = Trainer(epochs=settings.epochs, seed=seed, progress=False, device="cpu")
    trainer.fit(make_procedure(rbm, settings), make_source(data(), batch_size=45, seed=0))
    return rbm


def train_in_turns(seed: int) -> RBM:
    """The rule "ahead" where the chains move first and the gradients travel then."""
    average = Processes.average

    def in_turns(self: Processes, parameters: Any, weight: float = 1.0, meanwhile: Any = None) -> None:
        if meanwhile is not None:
            meanwhile()
        average(self, parameters, weight)

    Processes.average = in_turns  # type: ignore[method-assign]
    try:
        return train("ahead", seed)
    finally:
        Processes.average = average  # type: ignore[method-assign]


def topics() -> ReplicatedSoftmax:
    """A model of documents that is small enough to be enumerated."""
    model = ReplicatedSoftmax(5, 4, weight_std=0.8, generator=make_generator(11))
    with torch.no_grad():
        model.hidden.bias.copy_(torch.tensor([0.3, -0.2, 0.1, -0.4]))
    return model


def lengths_in_turn(processes: Processes) -> dict[str, Any]:
    """log Z of documents of every length, annealed by all processes together: the whole of it, and one half."""
    generator, lengths = make_generator(13), torch.tensor(LENGTHS)
    up = anneal_up(topics(), lengths, N_CHAINS, generator=generator, processes=processes)
    settings: dict[str, Any] = {"n_chains": N_CHAINS, "n_reverse": 4, "reverse_chains": 51, "burn_in": 30}
    settings |= {"generator": generator, "processes": processes}
    documents = topics().sample(20, length=12, n_steps=50, generator=make_generator(17))
    found = [log_z_of_lengths(topics(), lengths, "ais", documents=start, **settings) for start in (None, documents)]
    ends = [[z.low, z.high, z.stderr] for z in found]
    return {"up": list(up), "from the ends": ends[0], "from documents": ends[1]}


def log_z_by_ladders(rbm: RBM, processes: Processes, start: torch.Tensor | None) -> Bound:
    """log Z from 41 ladders of both processes, from given states or from the base model."""
    options: dict[str, Any] = {"start": start, "generator": make_generator(21), "processes": processes}
    return tempered_log_z(rbm, n_chains=41, n_replicas=4, n_steps=200, **options)


def main(out: str) -> None:
    """Train by every rule and anneal; each process writes what it holds."""
    processes = connect("cpu")
    exact, pcd, cd, ahead = (train(learning, seed=3) for learning in ("exact", "pcd", "cd", "ahead"))
    generator = make_generator(5)
    forward = ais(exact, n_chains=N_CHAINS, betas=BETAS, generator=generator, processes=processes)
    reverse = reverse_ais(exact, forward.v, betas=BETAS, generator=generator, processes=processes)
    tempered = [log_z_by_ladders(exact, processes, start) for start in (None, forward.v[:41])]
    lengths = lengths_in_turn(processes)
    procedure = make_procedure(exact, LearningSettings(n_chains=41))
    procedure.start(Batch(data()), make_generator(9), rank=processes.rank, world_size=processes.world_size)
    state = {
        "exact": exact.state_dict(),
        "pcd": pcd.state_dict(),
        "cd": cd.state_dict(),
        "ahead": ahead.state_dict(),
        "in turns": train_in_turns(seed=3).state_dict(),
        "forward": [forward.log_z, forward.stderr, forward.log_weights],
        "reverse": [reverse.log_z, reverse.stderr, reverse.log_weights],
        "tempered": [[z.value, z.stderr, z.low, z.high] for z in tempered],
        "lengths": lengths,
        "chains": procedure.negative.state_dict()["h"].shape[0],
    }
    write_state(f"{out}.{processes.rank}", state)


if __name__ == "__main__":
    main(sys.argv[1])
