"""A VAE with an RBM prior: small enough to enumerate, its bounds and gradients are what they say."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.belief import rbm_vae_learning
from deepbelief.belief.rbm_vae import RBMVAE
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.rbm_vae_learning import RBMVAELearning
from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Coder, Completer, Density, Sampler, Storable
from deepbelief.rng import bernoulli
from deepbelief.storage import load_model, save_model, state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch, Bound, Clamp
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian
from tests.oracle.checks import make_context
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.variational import all_bits
from tests.training.stops import InterruptAt

Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def tiny(n_codes: int = 0) -> RBMVAE:
    """Three bits of data under two and one of code, all far from independent."""
    g = torch.Generator().manual_seed(4)
    model = make_rbm_vae(Bernoulli(3), (2, 1), hidden=[4], n_codes=n_codes, activation="tanh", generator=g).double()
    with torch.no_grad():
        for parameter in [*model.encoders.parameters(), *model.below.parameters()]:
            parameter.mul_(2)
        model.rbm.weight.copy_(torch.tensor([[2.0], [-1.5]]))
        model.rbm.visible.bias.copy_(torch.tensor([-0.5, 0.7]))
        model.rbm.hidden.bias.fill_(0.3)
    return model


def log_joint(model: RBMVAE, x: Tensor) -> Tensor:
    """``log p(x, s)`` of all eight states of the bits, written out: (8, cases)."""
    s = all_bits()
    w, b, c = model.rbm.weight, model.rbm.visible.bias, model.rbm.hidden.bias
    minus_energy = torch.einsum("ni,ij,nj->n", s[:, :2], w, s[:, 2:]) + s[:, :2] @ b + s[:, 2:] @ c
    log_p_s = torch.log_softmax(minus_energy, 0)
    p = torch.sigmoid(model.below.network(s) + model.visible.bias)  # type: ignore[operator, union-attr]
    return log_p_s.unsqueeze(1) + torch.log(p) @ x.T + torch.log1p(-p) @ (1 - x.T)


def log_q(model: RBMVAE, x: Tensor) -> Tensor:
    """``log q(s | x)`` of all eight states, (8, cases)."""
    columns = []
    for s in all_bits():
        first = model.encoders[0](x)
        second = model.encoders[1](torch.cat([x, s[:2].expand(len(x), 2)], 1))
        logits, bits = torch.cat([first, second], 1), s.expand(len(x), 3)
        columns.append(-F.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(1))
    return torch.stack(columns)


# -- the bound ------------------------------------------------------------------------------------------------------


def test_the_model_is_a_distribution_and_samples_from_it(generator: torch.Generator) -> None:
    model = tiny()
    p = torch.logsumexp(log_joint(model, all_bits()), 0).exp()
    assert p.sum().item() == pytest.approx(1)
    draws = model.sample(40_000, n_steps=30, generator=generator)
    counts = torch.bincount((draws @ torch.tensor([4.0, 2.0, 1.0], dtype=draws.dtype)).long(), minlength=8)
    assert counts_p_value(counts, p.detach()) > FALSE_ALARM


def upside_down_energy(patch: pytest.MonkeyPatch) -> None:
    """A prior of the wrong sign."""
    energy = RBM.energy
    patch.setattr(RBM, "energy", lambda self, v, h: -energy(self, v, h))


def deaf_second_group(patch: pytest.MonkeyPatch) -> None:
    """Bits of the second group drawn with the odds of a fair coin, scored as if by the encoder."""
    draw = RBMVAE._draw
    fair = lambda logits, *rest: draw(logits if logits.shape[-1] == 2 else 0 * logits, *rest)
    patch.setattr(RBMVAE, "_draw", staticmethod(fair))


@pytest.mark.parametrize("plant", [no_bug, upside_down_energy, deaf_second_group])
def test_weights_have_the_likelihood_as_their_mean(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    model, x = tiny(), all_bits()
    exact, z = torch.logsumexp(log_joint(model, x), 0), exact_log_z(model.rbm)
    plant(monkeypatch)
    with torch.no_grad():
        bits = model.infer(x, 20_000, generator=generator)
        log_w = model.log_unnormalized(x, bits, generator) - bits.log_q() - float(z)
    assert (means_p_value((log_w - exact).exp(), 1.0) > FALSE_ALARM) == (plant is no_bug)


def bits_of_the_means(patch: pytest.MonkeyPatch) -> None:
    """The second group drawn given the means of the first, not its bits."""
    encode = RBMVAE.encode
    patch.setattr(RBMVAE, "encode", lambda self, x, sample, generator: bernoulli(encode(self, x), generator))


@pytest.mark.parametrize("plant", [no_bug, deaf_second_group, bits_of_the_means])
def test_drawn_codes_follow_the_encoder(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    model, x = tiny(), all_bits()[5:6]
    plant(monkeypatch)
    draws = model.encode(x.expand(40_000, -1), sample=True, generator=generator)
    counts = torch.bincount((draws @ torch.tensor([4.0, 2.0, 1.0], dtype=draws.dtype)).long(), minlength=8)
    assert (counts_p_value(counts, log_q(model, x)[:, 0].exp().detach()) > FALSE_ALARM) == (plant is no_bug)


def test_bounds_are_below_and_converge(generator: torch.Generator) -> None:
    model, x = tiny(), all_bits().repeat(40, 1)
    exact = torch.logsumexp(log_joint(model, x), 0).mean().item()
    elbo = (log_q(model, x).exp() * (log_joint(model, x) - log_q(model, x))).sum(0).mean().item()
    one, many = (model.log_likelihood(x, n_samples=n, generator=generator) for n in (2, 4000))
    assert elbo < float(one) < exact
    assert abs(float(many) - exact) < 6 * many.stderr
    assert many.kind == "lower_bound"
    bracketed = model.log_likelihood(x, n_samples=2, log_z=Bound(1.0, "estimate", 0.3, "by hand", 0.5, 2.0))
    assert bracketed.stderr > 0.3
    assert bracketed.high - bracketed.low == pytest.approx(1.5)  # type: ignore[operator]


def test_codes_below_leave_the_bound_a_bound(generator: torch.Generator) -> None:
    model, x = tiny(n_codes=1), all_bits()
    z = torch.linspace(-8, 8, 401, dtype=torch.float64).reshape(-1, 1, 1)
    states, prior = all_bits(), torch.logsumexp(log_joint_of_bits(model), 0)
    terms = []
    for s, log_p in zip(states, log_joint_of_bits(model) - prior, strict=True):
        joint = model.below.log_joint(x, [z.expand(-1, 8, 1)], s)  # type: ignore[operator, union-attr]
        terms.append(torch.logsumexp(joint, 0) + math.log(0.04) + log_p)
    exact = torch.logsumexp(torch.stack(terms), 0)
    assert exact.exp().sum().item() == pytest.approx(1)
    with torch.no_grad():
        bits = model.infer(x, 20_000, generator=generator)
        log_w = model.log_unnormalized(x, bits, generator) - bits.log_q() - float(exact_log_z(model.rbm))
    assert means_p_value((log_w - exact).exp(), 1.0) > FALSE_ALARM


def log_joint_of_bits(model: RBMVAE) -> Tensor:
    s = all_bits()
    return -model.rbm.energy(s[:, :2], s[:, 2:])


# -- the gradient ---------------------------------------------------------------------------------------------------


def enumerated_gradient(model: RBMVAE, x: Tensor) -> dict[str, Tensor]:
    """The gradient of the two-draw bound over all pairs of states of the bits."""
    log_w, q = log_joint(model, x)[:, 0] - log_q(model, x)[:, 0], log_q(model, x)[:, 0].exp()
    pairs = torch.logaddexp(log_w.unsqueeze(0), log_w.unsqueeze(1)) - math.log(2)
    value = (torch.outer(q, q) * pairs).sum()
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(value, list(model.parameters())), strict=True))


def forgotten_baseline_weight(patch: pytest.MonkeyPatch) -> None:
    """The credit of a draw taken from a baseline that knows the draw itself."""
    patch.setattr(rbm_vae_learning, "leave_one_out", lambda log_w: 0.5 * log_w)


def forgotten_log_z(patch: pytest.MonkeyPatch) -> None:
    """The data's half of the RBM's gradient alone."""
    half = lambda self, s1, generator: torch.zeros((), dtype=s1.dtype)
    patch.setattr(RBMVAELearning, "log_z_surrogate", half)


@pytest.mark.parametrize("plant", [no_bug, forgotten_baseline_weight, forgotten_log_z])
def test_vimco_has_the_gradient_of_the_enumerated_bound(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    model, x = tiny(), all_bits()[[5]]
    wanted = enumerated_gradient(model, x)
    plant(monkeypatch)
    procedure = RBMVAELearning(model, k=2, gradient="vimco", negative="exact")
    rows, context = x.expand(300, 3), make_context(generator)

    def one() -> Tensor:
        objective, s1, _ = procedure.objective(rows, 1.0, context)
        value = objective.mean() - procedure.log_z_surrogate(s1, generator)
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])

    found = torch.stack([one() for _ in range(100)])
    p_value = means_p_value(found, torch.cat([g.flatten() for g in wanted.values()]))
    assert (p_value > FALSE_ALARM) == (plant is no_bug)


def test_chains_estimate_the_gradient_of_log_z(generator: torch.Generator) -> None:
    model, n = tiny(), 4000
    exact = torch.autograd.grad(
        RBMVAELearning(model, negative="exact").log_z_surrogate(torch.zeros(1), generator), list(model.rbm.parameters())
    )
    procedure = RBMVAELearning(model, n_chains=n, n_steps=40)
    procedure.start(Batch(all_bits()), generator)
    chains = procedure.chains
    assert isinstance(chains, PersistentChains)

    def gradient() -> list[Tensor]:
        value = procedure.log_z_surrogate(all_bits()[:, :2], generator)
        return list(torch.autograd.grad(value, list(model.rbm.parameters())))

    draws = [torch.cat([g.flatten() for g in gradient()]) for _ in range(40)]
    assert means_p_value(torch.stack(draws), torch.cat([g.flatten() for g in exact])) > FALSE_ALARM


def test_cold_soft_bits_are_bits(generator: torch.Generator) -> None:
    model, x = tiny(), all_bits()[[6]]
    soft = model.infer(x, 50_000, temperature=1e-4, generator=generator)
    counts = torch.bincount((soft.joined()[:, 0].round() @ torch.tensor([4.0, 2.0, 1.0]).double()).long(), minlength=8)
    assert counts_p_value(counts, log_q(model, x)[:, 0].exp().detach()) > FALSE_ALARM


# -- training and use -----------------------------------------------------------------------------------------------


def patterns() -> Tensor:
    """Bits in two groups that go together."""
    g = torch.Generator().manual_seed(7)
    causes = torch.rand(120, 2, generator=g) < 0.5
    return (causes.repeat_interleave(3, 1) ^ (torch.rand(120, 6, generator=g) < 0.05)).float()


def train(options: dict[str, Any], n_codes: int, **settings: Any) -> dict[str, Any]:
    resume = settings.pop("resume_from", None)
    g = torch.Generator().manual_seed(1)
    model = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[16], n_codes=n_codes, generator=g)
    model.match_data(patterns())
    procedure = RBMVAELearning(model, n_chains=20, n_steps=2, **options)
    Trainer(progress=False, device="cpu", **settings).fit(
        procedure, ArraySource(patterns(), batch_size=50), resume_from=resume
    )
    return {"module": model.state_dict(), "procedure": procedure.state_dict(), "model": model}


@pytest.mark.parametrize("gradient", ["relaxed", "vimco"])
def test_learning_finds_the_structure(gradient: str, generator: torch.Generator) -> None:
    x = patterns()
    independent = torch.distributions.Bernoulli(x.mean(0)).log_prob(x).sum(1).mean().item()
    model = train({"gradient": gradient, "k": 4, "learning_rate": 0.02, "schedule": "cosine"}, 0, epochs=80)["model"]
    bound = model.log_likelihood(x, n_samples=200, generator=generator)
    assert float(bound) - 6 * bound.stderr > independent + 0.5


@pytest.mark.parametrize(("gradient", "n_codes"), [("relaxed", 2), ("vimco", 0)])
def test_resumed_is_never_stopped(gradient: str, n_codes: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"gradient": gradient, "k": 2, "warmup": 0.5}
    states = [train(options, n_codes, epochs=4, averaging=0.9)]
    with pytest.raises(KeyboardInterrupt):
        train(options, n_codes, epochs=4, averaging=0.9, callbacks=[InterruptAt(7)], checkpoint_dir=tmp_path)
    states.append(train(options, n_codes, epochs=4, averaging=0.9, resume_from=tmp_path))
    for state in states:
        del state["model"]
    assert state_to_bytes(states[0]) == state_to_bytes(states[1])


@pytest.mark.parametrize("n_codes", [0, 2])
def test_capabilities_and_storage(n_codes: int, tmp_path: Path, generator: torch.Generator) -> None:
    model = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[5], n_codes=n_codes, generator=generator)
    for capability in (Sampler, Density, Coder, Completer, Storable):
        assert isinstance(model, capability)
    x = patterns()[:5]
    save_model(model, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    seeded: Callable[[], dict[str, Any]] = lambda: {"generator": torch.Generator().manual_seed(1)}
    for use in (
        lambda m: m.decode(m.encode(x)),
        lambda m: m.log_likelihood(x, n_samples=5, **seeded()).value,
        lambda m: m.complete(x, x > 0, n_steps=4, n_average=2, **seeded()),
        lambda m: m.sample(3, n_steps=4, mean=True, **seeded()),
        lambda m: m.sample(3, n_steps=4, condition=Clamp(x[0], x[0] > 0), **seeded()),
    ):
        assert torch.equal(use(model), use(twin))
    assert torch.equal(
        model.sample(2, condition=Clamp(x[0], x[0] > 0), n_steps=3)[:, x[0] > 0], x[:1, x[0] > 0].repeat(2, 1)
    )


def test_wrong_use_is_told() -> None:
    model = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[5])
    with pytest.raises(InvalidArgumentError, match=r"k must be at least 2\. Got k=1"):
        RBMVAELearning(model, k=1, gradient="vimco")
    with pytest.raises(InvalidArgumentError, match="temperature must be above 0"):
        RBMVAELearning(model, temperature=0)
    with pytest.raises(InvalidArgumentError, match=r"rbm must have Bernoulli units"):
        RBMVAE(RBM(Gaussian(3), 2), list(model.encoders), model.below)
    with pytest.raises(InvalidArgumentError, match=r"below must have a condition of 6, the bits\. Got 5"):
        RBMVAE(RBM(3, 3), list(model.encoders), model.below)
