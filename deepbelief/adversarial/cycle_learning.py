"""Learning a `CycleGAN`: least squares for four networks, a cycle there and back, and a history of generated cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.adversarial.cycle_gan import CycleGAN
from deepbelief.adversarial.losses import LOSSES
from deepbelief.errors import InvalidDataError, check_count, check_fraction, check_range
from deepbelief.protocols import StepContext
from deepbelief.training.averaging import decay_after
from deepbelief.training.optimization import Descent
from deepbelief.training.schedules import Schedule, make_schedule
from deepbelief.types import Batch


class History:
    """The last generated cases, `size` of them at most: a critic that sees old ones too does not run in circles.

    `mix` puts new cases in and gives as many back: while there is room, the new ones; after that each, with probability
    1/2, an old one whose place the new one takes (Shrivastava et al. 2017).

    With several processes `share_out` gives each its part of `size`: a case then stays for as many steps as with one.
    """

    def __init__(self, size: int) -> None:
        check_count("history", size, low=0)
        self.size = size
        self.cases: Tensor | None = None

    def share_out(self, rank: int, world_size: int) -> None:
        """Keep the part of this process."""
        if self.size:
            check_count("history", self.size, low=world_size, remedy="Each process needs a case, or give 0 for none.")
        self.size = len(range(rank, self.size, world_size))

    def mix(self, new: Tensor, generator: torch.Generator) -> Tensor:
        """(n, d) -> (n, d)."""
        new = new.detach()
        if self.size == 0:
            return new
        kept = new[:0] if self.cases is None else self.cases
        room = min(self.size - len(kept), len(new))
        self.cases = torch.cat([kept, new[:room]])
        rest = new[room:]
        order = torch.randperm(self.size, device=new.device, generator=generator)[: len(rest)]
        old = torch.rand(len(order), device=new.device, generator=generator) < 0.5
        given = rest.clone()
        given[: len(order)][old] = self.cases[order[old]]
        self.cases[order[old]] = rest[: len(order)][old]
        return torch.cat([new[:room], given])


class CycleLearning:
    """Each batch makes a step of both generators together, then one of both critics together.

    A batch's rows are a case of X beside one of Y (`deepbelief.adversarial.cycle_gan.with_unpaired`), `width` columns
    of X first. The generators lower, with least squares against the critics,

        ``E (s_y(G(x)) - 1)^2 / 2 + E (s_x(F(y)) - 1)^2 / 2
        + cycle (E |F(G(x)) - x| + E |G(F(y)) - y|) + identity (E |G(y) - y| + E |F(x) - x|)``

    where bars are means over columns, and the critics ``E (s(data) - 1)^2 / 2 + E s(generated)^2 / 2`` in each set.

    Parameters
    ----------
    cycle, identity
        Weights; `identity` needs sets of equal widths, and 0 leaves it out.
    history
        Generated cases of each set that are kept for the critics, in all processes together; 0 for none.
    averaging
        Decay of the running averages of the generators, which translate after learning; 0 keeps the generators
        themselves, which a rate that falls to 0 settles anyway.
    """

    def __init__(
        self,
        model: CycleGAN,
        width: int,
        *,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        schedule: str | Schedule = "constant",
        cycle: float = 10.0,
        identity: float = 0.0,
        history: int = 50,
        averaging: float = 0.0,
    ) -> None:
        check_range("cycle", cycle, low=0)
        check_range("identity", identity, low=0)
        check_fraction("averaging", averaging, remedy="Try 0.999.")
        self.model, self.width, self.learning_rate = model, width, learning_rate
        self.module: nn.Module = model
        self.cycle, self.identity, self.averaging, self.steps = cycle, identity, averaging, 0
        rates = schedule if callable(schedule) else make_schedule(schedule, learning_rate)
        how: dict[str, Any] = {"learning_rate": learning_rate, "schedule": rates, "betas": betas}
        generators = chain(model.there.parameters(), model.back.parameters())
        critics = chain(model.critic_x.parameters(), model.critic_y.parameters())
        self.generator_descent, self.critic_descent = Descent(generators, **how), Descent(critics, **how)
        self.made_x, self.made_y = History(history), History(history)

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Check that one batch fits the networks, before any step is made; the averages begin at the generators."""
        x, y = self._both(first)
        if self.identity and x.shape[1] != y.shape[1]:
            raise InvalidDataError(
                f"identity must be 0 for sets of different widths. Got widths {x.shape[1]} and {y.shape[1]}."
            )
        self.model.eval()
        self.model.update_average(0.0)
        with torch.no_grad():
            found = self.model.encode(x).shape, self.model.decode(y).shape
        if found != (y.shape, x.shape):
            raise InvalidDataError(
                f"the generators must give {y.shape[1]} and {x.shape[1]} columns. Got {found[0][1]} and {found[1][1]}."
            )
        for history in (self.made_x, self.made_y):
            history.share_out(rank, world_size)

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One step of the generators and one of the critics."""
        if not self.model.training:
            self.model.train()
        x, y = self._both(batch)
        model, squares = self.model, LOSSES["lsgan"]
        there, back = partial(model.encode, averaged=False), partial(model.decode, averaged=False)

        def ask(network: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
            with context.autocast():
                return network(rows).to(rows.dtype)  # losses are not taken in half precision

        as_y, as_x = ask(there, x), ask(back, y)
        fooled = (
            squares.generator(ask(model.scores_y, as_y)).mean() + squares.generator(ask(model.scores_x, as_x)).mean()
        )
        there_and_back = (ask(back, as_y) - x).abs().mean() + (ask(there, as_x) - y).abs().mean()
        loss = fooled + self.cycle * there_and_back
        if self.identity:
            kept = (ask(there, y) - y).abs().mean() + (ask(back, x) - x).abs().mean()
            loss = loss + self.identity * kept
        self.generator_descent.step(loss, context)
        self.steps += 1
        model.update_average(decay_after(self.averaging, self.steps) if self.averaging else 0.0)
        old_x = self.made_x.mix(as_x, context.generator)
        old_y = self.made_y.mix(as_y, context.generator)
        on_data = squares.real(ask(model.scores_x, x)).mean() + squares.real(ask(model.scores_y, y)).mean()
        on_made = squares.fake(ask(model.scores_x, old_x)).mean() + squares.fake(ask(model.scores_y, old_y)).mean()
        self.critic_descent.step(on_data + on_made, context)
        return {
            "generator_loss": fooled.detach(),
            "cycle_loss": there_and_back.detach(),
            "critic_loss": (on_data + on_made).detach(),
        }

    def _both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.x[:, : self.width], batch.x[:, self.width :]

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers, both histories and the counter; the averaged generators are part of the module."""
        return {
            "generators": self.generator_descent.state_dict(),
            "critics": self.critic_descent.state_dict(),
            "made_x": self.made_x.cases,
            "made_y": self.made_y.cases,
            "history": self.made_x.size,
            "steps": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.generator_descent.load_state_dict(state["generators"])
        self.critic_descent.load_state_dict(state["critics"])
        self.made_x.cases, self.made_y.cases = state["made_x"], state["made_y"]
        self.made_x.size = self.made_y.size = state["history"]
        self.steps = state["steps"]
