"""Gibbs sampling of a small RBM as the matrix that it is: its law, its eigenvalues, its exact autocorrelation times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.energy.rbm import RBM
from tests.oracle.stack import energy_table, states_of


@dataclass
class Transitions:
    """One sweep over the visible states v: ``kernel[v, v'] = sum_h p(h | v) p(v' | h)``, reversible under `law`."""

    states: Tensor
    law: Tensor
    kernel: Tensor

    @classmethod
    def of(cls, rbm: RBM) -> Transitions:
        """Written from the table of energies alone."""
        energies = -energy_table(rbm)
        up, down = torch.softmax(energies, 1), torch.softmax(energies, 0)
        return cls(states_of(rbm.visible), torch.softmax(energies.logsumexp(1), 0), up @ down.T)

    def modes(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues from 1 downwards, and the eigenvectors as functions of the state, one a column."""
        root = self.law.sqrt()
        values, vectors = torch.linalg.eigh(root.unsqueeze(1) * self.kernel / root)
        return values.flip(0), (vectors / root.unsqueeze(1)).flip(1)

    def integrated_time(self, f: Tensor) -> float:
        """``1 + 2 sum_t rho(t)`` of a function of the state, (states,), from all modes."""
        values, vectors = self.modes()
        weights = (vectors.T @ (self.law * f)).square()[1:]
        return float((weights * (1 + values[1:]) / (1 - values[1:])).sum() / weights.sum())

    def autocorrelation(self, f: Tensor, lag: int) -> float:
        """``rho(lag)``."""
        values, vectors = self.modes()
        weights = (vectors.T @ (self.law * f)).square()[1:]
        return float((weights * values[1:] ** lag).sum() / weights.sum())

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Independent draws of v."""
        return self.states[torch.multinomial(self.law, n, replacement=True, generator=generator)]
