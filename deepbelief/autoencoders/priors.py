"""Laws of the topmost code of a variational autoencoder.

Standard normal, a learned mixture, the VampPrior, and a normal law that hangs on the model's condition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.diagonal import LOG_TWO_PI, Diagonal, normal_noise
from deepbelief.errors import check_choice, check_count
from deepbelief.networks.parts import network_config, network_from_config, on_rows
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like

Posterior = Callable[[Tensor], Diagonal]  # the top encoder: its inputs to the law of the top code


class Prior(nn.Module, ABC):
    """A law of codes of `size` numbers.

    `posterior` is the top encoder, which one of the priors is made of; `c` is the condition, (cases, n_condition), on
    which another hangs (`n_condition` is 0 for those that hang on none).
    """

    kind: ClassVar[str]
    n_condition = 0

    def __init__(self, size: int) -> None:
        super().__init__()
        check_count("size", size, low=1)
        self.size = size

    @abstractmethod
    def log_prob(self, z: Tensor, posterior: Posterior, c: Tensor | None = None) -> Tensor:
        """``log p(z)`` in nats: (..., size) -> (...)."""

    @abstractmethod
    def sample(
        self, n: int, like: Tensor, posterior: Posterior, generator: Generator, c: Tensor | None = None
    ) -> Tensor:
        """`n` draws in the type and on the device of `like`: (n, size)."""

    def kl(self, q: Diagonal, c: Tensor | None = None) -> Tensor | None:
        """``KL(q || p)`` in nats where it has a closed form: (..., size) -> (...)."""
        return None

    def settled(self, posterior: Posterior) -> Prior:
        """This law with all that it asks of the encoder worked out: for as long as no weight changes."""
        return self

    def config(self) -> dict[str, Any]:
        """What makes this prior again, as JSON."""
        return {"kind": self.kind, "size": self.size}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The prior that `config` describes, with fresh parameters."""
        return cls(**{name: value for name, value in config.items() if name != "kind"})


class StandardNormal(Prior):
    """``p(z) = N(z; 0, I)``.

    >>> round(StandardNormal(2).log_prob(torch.zeros(2), lambda x: Diagonal(x, x)).item(), 4)
    -1.8379
    """

    kind = "normal"

    def log_prob(self, z: Tensor, posterior: Posterior, c: Tensor | None = None) -> Tensor:
        return -0.5 * (z * z).sum(-1) - 0.5 * self.size * LOG_TWO_PI

    def sample(
        self, n: int, like: Tensor, posterior: Posterior, generator: Generator, c: Tensor | None = None
    ) -> Tensor:
        return normal_noise((n, self.size), like, generator)

    def kl(self, q: Diagonal, c: Tensor | None = None) -> Tensor | None:
        return q.kl_from_standard()


class _Components(Prior):
    """``p(z) = sum_k w_k N(z; mean_k, variance_k)``; kinds differ in where the components come from."""

    def __init__(self, size: int, n_components: int) -> None:
        super().__init__(size)
        check_count("n_components", n_components, low=1)
        self.n_components = n_components
        self.logits = nn.Parameter(torch.zeros(n_components))  # the weights w = softmax(logits)

    @abstractmethod
    def components(self, posterior: Posterior) -> Diagonal:
        """The Gaussians of the mixture: (n_components, size)."""

    def log_prob(self, z: Tensor, posterior: Posterior, c: Tensor | None = None) -> Tensor:
        parts = self.components(posterior)
        precision = torch.exp(-parts.log_variance)
        # the squares written out: two matrix products instead of (..., n_components, size) differences
        linear = z @ (parts.mean * precision).T - 0.5 * (z * z) @ precision.T
        constant = (parts.mean.square() * precision + parts.log_variance + LOG_TWO_PI).sum(-1)
        return torch.logsumexp(linear - 0.5 * constant + torch.log_softmax(self.logits, 0), -1)

    def sample(
        self, n: int, like: Tensor, posterior: Posterior, generator: Generator, c: Tensor | None = None
    ) -> Tensor:
        parts = self.components(posterior)
        cumulative = torch.softmax(self.logits.double(), 0).cumsum(0)
        u = uniform_like(cumulative.new_empty(n), generator) * cumulative[-1]
        which = torch.searchsorted(cumulative, u, right=True).clamp(max=self.n_components - 1)
        law = Diagonal(parts.mean[which], parts.log_variance[which])
        return law.place(normal_noise((n, self.size), like, generator))

    def config(self) -> dict[str, Any]:
        return super().config() | {"n_components": self.n_components}


class Mixture(_Components):
    """A mixture of diagonal Gaussians whose weights, means and variances are learned.

    Means begin spread like a standard normal, drawn from `generator`; variances at 1.

    >>> Mixture(2, 5).sample(3, torch.zeros(()), lambda x: Diagonal(x, x), None).shape
    torch.Size([3, 2])
    """

    kind = "mixture"

    def __init__(self, size: int, n_components: int = 10, *, generator: torch.Generator | None = None) -> None:
        super().__init__(size, n_components)
        self.means = nn.Parameter(torch.randn(n_components, size, generator=generator))
        self.log_variances = nn.Parameter(torch.zeros(n_components, size))

    def components(self, posterior: Posterior) -> Diagonal:
        return Diagonal(self.means, self.log_variances)


class VampPrior(_Components):
    """A mixture of the encoder's own laws at learned pseudo-inputs (Tomczak & Welling 2018).

    ``p(z) = sum_k w_k q(z | u_k)``. The pseudo-inputs stand where the top encoder's inputs do, `n_inputs` wide; with
    `unit_interval` they pass through a sigmoid, as befits pixels, all but the last `n_beside`, a condition's numbers.
    `start` (cases of data) gives their first values.
    """

    kind = "vamp"

    def __init__(
        self,
        size: int,
        n_components: int,
        n_inputs: int,
        *,
        unit_interval: bool = False,
        n_beside: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(size, n_components)
        check_count("n_beside", n_beside, low=0, high=n_inputs)
        self.n_inputs, self.unit_interval, self.n_beside = n_inputs, unit_interval, n_beside
        self.pseudo_inputs = nn.Parameter(torch.randn(n_components, n_inputs, generator=generator))

    @property
    def inputs(self) -> Tensor:
        """What the encoder sees: (n_components, n_inputs)."""
        return self._on_data(torch.sigmoid, self.pseudo_inputs)

    def _on_data(self, squash: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """`rows` with the part that lies in [0, 1] squashed or stretched, and what stands beside it as it is."""
        if not self.unit_interval:
            return rows
        if self.n_beside == 0:
            return squash(rows)
        data, beside = rows.split([self.n_inputs - self.n_beside, self.n_beside], 1)
        return torch.cat([squash(data), beside], 1)

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        """Begin at these inputs of the top encoder, as many as there are, the rest repeated."""
        which = torch.arange(self.n_components, device=rows.device) % len(rows)
        chosen = rows[which].to(self.pseudo_inputs)
        # greyer than the data: a sigmoid learns nothing far out
        self.pseudo_inputs.copy_(self._on_data(lambda x: torch.logit(0.1 + 0.8 * x), chosen))

    def components(self, posterior: Posterior) -> Diagonal:
        return posterior(self.inputs)

    def settled(self, posterior: Posterior) -> Prior:
        return _Settled(self, posterior)

    def config(self) -> dict[str, Any]:
        own = {"n_inputs": self.n_inputs, "unit_interval": self.unit_interval, "n_beside": self.n_beside}
        return super().config() | own


class _Settled(_Components):
    """A mixture with the components that another has for the encoder of this moment."""

    kind = "settled"

    def __init__(self, other: _Components, posterior: Posterior) -> None:
        super().__init__(other.size, other.n_components)
        self.logits = other.logits
        with torch.no_grad():
            self.parts = other.components(posterior)

    def components(self, posterior: Posterior) -> Diagonal:
        return self.parts


class ConditionalNormal(Prior):
    """``p(z | c) = N(z; m(c), diag v(c))``, its means and variances given by a network (Sohn, Lee & Yan 2015).

    `network` takes conditions of `n_condition` numbers to means and log variances: (n, n_condition) -> (n, 2 size).

    >>> prior = ConditionalNormal(2, 3, nn.Linear(3, 4))
    >>> prior.sample(5, torch.zeros(()), lambda x: Diagonal(x, x), None, torch.ones(5, 3)).shape
    torch.Size([5, 2])
    """

    kind = "conditional"

    def __init__(self, size: int, n_condition: int, network: nn.Module) -> None:
        super().__init__(size)
        check_count("n_condition", n_condition, low=1)
        self.n_condition, self.network = n_condition, network

    def law(self, c: Tensor | None) -> Diagonal:
        """The law of the codes of each case: (cases, size)."""
        assert c is not None  # a model takes no other use of a prior that hangs on its condition
        return Diagonal.from_outputs(on_rows(self.network, c))

    def log_prob(self, z: Tensor, posterior: Posterior, c: Tensor | None = None) -> Tensor:
        return self.law(c).log_prob(z)

    def sample(
        self, n: int, like: Tensor, posterior: Posterior, generator: Generator, c: Tensor | None = None
    ) -> Tensor:
        return self.law(c).place(normal_noise((n, self.size), like, generator))

    def kl(self, q: Diagonal, c: Tensor | None = None) -> Tensor | None:
        return q.kl_from(self.law(c))

    def config(self) -> dict[str, Any]:
        return super().config() | {"n_condition": self.n_condition, "network": network_config(self.network)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(config["size"], config["n_condition"], network_from_config(config["network"]))


PRIORS: dict[str, type[Prior]] = {c.kind: c for c in (StandardNormal, Mixture, VampPrior, ConditionalNormal)}


def prior_from_config(config: Mapping[str, Any]) -> Prior:
    """The prior that `config` describes, with fresh parameters."""
    check_choice("prior", config.get("kind"), PRIORS)
    return PRIORS[config["kind"]].from_config(config)
