"""A VAE with a deep belief network as its prior: small enough to enumerate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.belief import rbm_vae
from deepbelief.belief.rbm_vae import RBMVAE
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.rbm_vae_learning import RBMVAELearning
from deepbelief.data.source import ArraySource
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.storage import load_model, save_model
from deepbelief.training.trainer import Trainer
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.checks import make_context
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.variational import all_bits

Plant = Callable[[pytest.MonkeyPatch], None]
STATES = all_bits(4)  # groups of 1, 2 and 1 bits


def tiny() -> RBMVAE:
    """Three bits of data under groups of one, two and one, all far from independent."""
    g = torch.Generator().manual_seed(4)
    model = make_rbm_vae(Bernoulli(3), (1, 2, 1), hidden=[4], activation="tanh", generator=g).double()
    with torch.no_grad():
        for parameter in [*model.encoders.parameters(), *model.below.parameters(), *model.layers.parameters()]:
            parameter.mul_(2)
        model.rbm.weight.copy_(torch.tensor([[2.0], [-1.5]]))
        model.rbm.visible.bias.copy_(torch.tensor([-0.5, 0.7]))
        model.rbm.hidden.bias.fill_(0.3)
    return model


def groups(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return s[..., :1], s[..., 1:3], s[..., 3:]


def log_prior(model: RBMVAE) -> Tensor:
    """``log p(s)`` of all 16 states, written out: the RBM over the upper two groups, the lowest given the middle."""
    s1, s2, s3 = groups(STATES)
    w, b, c = model.rbm.weight, model.rbm.visible.bias, model.rbm.hidden.bias
    upper = torch.einsum("ni,ij,nj->n", s2, w, s3) + s2 @ b + s3 @ c
    normal = torch.logsumexp(upper[STATES[:, 0] == 0], 0)  # each state of the upper two once
    return upper - normal - F.binary_cross_entropy_with_logits(model.layers[0](s2), s1, reduction="none").sum(1)


def log_joint(model: RBMVAE, x: Tensor) -> Tensor:
    """``log p(x, s)``: (16, cases)."""
    p = torch.sigmoid(model.below.network(STATES) + model.visible.bias)  # type: ignore[operator, union-attr]
    return log_prior(model).unsqueeze(1) + torch.log(p) @ x.T + torch.log1p(-p) @ (1 - x.T)


def log_q(model: RBMVAE, x: Tensor) -> Tensor:
    """``log q(s | x)``: (16, cases)."""
    rows = []
    for s in STATES:
        parts = [part.expand(len(x), -1) for part in groups(s)]
        inputs = [torch.cat([x, *parts[:i]], 1) for i in range(3)]
        logits = torch.cat([encoder(rows) for encoder, rows in zip(model.encoders, inputs, strict=True)], 1)
        rows.append(-F.binary_cross_entropy_with_logits(logits, torch.cat(parts, 1), reduction="none").sum(1))
    return torch.stack(rows)


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def without_the_lower_layer(patch: pytest.MonkeyPatch) -> None:
    """A prior that is the RBM's alone."""
    patch.setattr(RBMVAE, "log_prior", lambda self, parts: -self.rbm.energy(parts[-2], parts[-1]))


def upside_down(patch: pytest.MonkeyPatch) -> None:
    """Bits of the lower layer scored as their opposites, in the prior and in the encoder."""
    law = rbm_vae.log_bernoulli
    patch.setattr(rbm_vae, "log_bernoulli", lambda s, logits: law(s, -logits))


def test_it_is_a_distribution_and_samples_from_it(generator: torch.Generator) -> None:
    model = tiny()
    assert log_prior(model).exp().sum().item() == pytest.approx(1)
    found = model.log_prior(groups(STATES)) - float(exact_log_z(model.rbm))
    torch.testing.assert_close(found, log_prior(model))
    p = torch.logsumexp(log_joint(model, all_bits()), 0).exp()
    draws = model.sample(40_000, n_steps=30, generator=generator)
    counts = torch.bincount((draws @ torch.tensor([4.0, 2.0, 1.0], dtype=draws.dtype)).long(), minlength=8)
    assert counts_p_value(counts, p.detach()) > FALSE_ALARM


@pytest.mark.parametrize("plant", [no_bug, without_the_lower_layer, upside_down])
def test_weights_have_the_likelihood_as_their_mean(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    model, x = tiny(), all_bits()
    exact, z = torch.logsumexp(log_joint(model, x), 0), float(exact_log_z(model.rbm))
    plant(monkeypatch)
    with torch.no_grad():
        bits = model.infer(x, 20_000, generator=generator)
        log_w = model.log_unnormalized(x, bits, generator) - bits.log_q() - z
    assert (means_p_value((log_w - exact).exp(), 1.0) > FALSE_ALARM) == (plant is no_bug)


def test_vimco_has_the_gradient_of_the_enumerated_bound(generator: torch.Generator) -> None:
    model, x = tiny(), all_bits()[[5]]
    log_w, q = log_joint(model, x)[:, 0] - log_q(model, x)[:, 0], log_q(model, x)[:, 0].exp()
    pairs = torch.logaddexp(log_w.unsqueeze(0), log_w.unsqueeze(1)) - torch.log(torch.tensor(2.0))
    wanted = torch.autograd.grad((torch.outer(q, q) * pairs).sum(), list(model.parameters()))
    procedure = RBMVAELearning(model, k=2, gradient="vimco", negative="exact")
    rows, context = x.expand(300, 3), make_context(generator)

    def one() -> Tensor:
        objective, s1, _ = procedure.objective(rows, 1.0, context)
        value = objective.mean() - procedure.log_z_surrogate(s1, generator)
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])

    found = torch.stack([one() for _ in range(100)])
    assert means_p_value(found, torch.cat([g.flatten() for g in wanted])) > FALSE_ALARM


def test_learning_finds_the_structure(generator: torch.Generator) -> None:
    causes = torch.rand(120, 2, generator=generator) < 0.5
    x = (causes.repeat_interleave(3, 1) ^ (torch.rand(120, 6, generator=generator) < 0.05)).float()
    independent = torch.distributions.Bernoulli(x.mean(0)).log_prob(x).sum(1).mean().item()
    model = make_rbm_vae(Bernoulli(6), (3, 2, 2), hidden=[16], generator=torch.Generator().manual_seed(1))
    model.match_data(x)
    learning = RBMVAELearning(model, k=4, learning_rate=0.02, schedule="cosine", n_chains=20, n_steps=2)
    Trainer(epochs=80, progress=False, device="cpu").fit(learning, ArraySource(x, batch_size=50))
    bound = model.log_likelihood(x, n_samples=200, generator=generator)
    assert float(bound) - 6 * bound.stderr > independent + 0.5


def test_it_is_stored_used_and_read_from_older_files(tmp_path: Path, generator: torch.Generator) -> None:
    model = make_rbm_vae(Bernoulli(6), (3, 2, 2, 1), hidden=[5], generator=generator)
    assert (model.sizes, model.n_bits) == ((3, 2, 2, 1), 8)
    x = (torch.rand(5, 6, generator=generator) < 0.5).float()
    save_model(model, tmp_path / "model")
    twin: Any = load_model(tmp_path / "model")
    assert torch.equal(twin.decode(twin.encode(x)), model.decode(model.encode(x)))
    seeded: Callable[[], dict[str, Any]] = lambda: {"generator": torch.Generator().manual_seed(1)}
    assert torch.equal(twin.sample(3, n_steps=4, **seeded()), model.sample(3, n_steps=4, **seeded()))
    filled = model.complete(x, x > 0, n_steps=4, n_average=2, **seeded())
    assert torch.equal(filled[x > 0], x[x > 0])
    older = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[5]).config()
    del older["layers"]
    assert RBMVAE.from_config(older).sizes == (3, 2)


def test_wrong_use_is_told() -> None:
    model = make_rbm_vae(Bernoulli(6), (3, 2, 2), hidden=[5])
    with pytest.raises(InvalidArgumentError, match="n_bits must be two numbers or more"):
        make_rbm_vae(Bernoulli(6), (3,))
    with pytest.raises(InvalidArgumentError, match=r"encoders must be 3, one for each group of bits\. Got 2"):
        RBMVAE(model.rbm, list(model.encoders)[:2], model.below, list(model.layers))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"layers\[0\] must lead from the 2 bits above it"):
        RBMVAE(RBM(2, 2), list(model.encoders), model.below, [DenseNetwork((4,), output=3)])
