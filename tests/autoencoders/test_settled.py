"""Scores work the prior's components out once, of the weights of the moment: the same numbers, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders import importance
from deepbelief.autoencoders.annealed import annealed_log_likelihood
from deepbelief.autoencoders.priors import VampPrior
from deepbelief.autoencoders.rate import rate_distortion
from deepbelief.autoencoders.vae import VAE
from tests.oracle.variational import all_bits, tiny_vae

KNOWN = torch.tensor([True, False, False])
USES: dict[str, Callable[[VAE, dict[str, Any]], Tensor]] = {
    "log_likelihood": lambda vae, o: vae.log_likelihood(all_bits(), n_samples=40, **o).value,
    "elbo": lambda vae, o: vae.elbo(all_bits(), n_samples=5, **o).value,
    "annealed": lambda vae, o: annealed_log_likelihood(vae, all_bits(), n_temperatures=4, n_runs=2, **o).value,
    "rate": lambda vae, o: rate_distortion(vae, all_bits(), n_samples=5, **o).rate.value,
    "complete": lambda vae, o: vae.complete(all_bits(), KNOWN.expand(8, 3), n_steps=6, n_average=3, **o),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"sizes": (2, 1)},
    "condition": {"n_condition": 2},
    "mixture": {"prior": "mixture"},
    "standard normal": {"prior": "normal"},
}


def model(kind: str) -> VAE:
    return tiny_vae(**({"prior": "vamp", "n_components": 3} | OPTIONS[kind]))


def score(use: str, kind: str, vae: VAE) -> Tensor:
    options: dict[str, Any] = {"generator": torch.Generator().manual_seed(1)}
    if kind == "condition":
        options["condition"] = torch.tensor([0.5, -2.0])
    return USES[use](vae, options)


@pytest.fixture(autouse=True)
def in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks to a score, over cases and over draws."""
    monkeypatch.setattr(importance, "CASES", 3)
    monkeypatch.setattr(importance.importance_weighted, "__kwdefaults__", {"rows": 24, "shared": False})


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("use", USES)
def test_scores_are_the_same_bit_for_bit(use: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = score(use, kind, model(kind))
    monkeypatch.setattr(VAE, "settled", lambda self: self)
    assert torch.equal(found, score(use, kind, model(kind)))


@pytest.mark.parametrize("use", USES)
def test_components_are_worked_out_once_for_each_score(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, components = [], VampPrior.components

    def counted(self: VampPrior, posterior: Any) -> Any:
        asked.append(self)
        return components(self, posterior)

    monkeypatch.setattr(VampPrior, "components", counted)
    vae = model("one layer")
    score(use, "one layer", vae)
    once = 2 if use == "annealed" else 1  # which finds its steps by a run before
    assert len(asked) == once
    monkeypatch.setattr(VAE, "settled", lambda self: self)
    score(use, "one layer", vae)
    assert len(asked) > 2 * once + 1


def test_nothing_is_kept_beyond_a_score() -> None:
    vae = model("one layer")
    before, names = score("log_likelihood", "one layer", vae), list(vae.state_dict())
    with torch.no_grad():
        vae.prior.pseudo_inputs.add_(3.0)  # type: ignore[operator]
    after = score("log_likelihood", "one layer", vae)
    assert not torch.equal(before, after)
    fresh = model("one layer")
    fresh.load_state_dict(vae.state_dict())
    assert torch.equal(after, score("log_likelihood", "one layer", fresh))
    assert list(vae.state_dict()) == names
    assert isinstance(vae.prior, VampPrior)
