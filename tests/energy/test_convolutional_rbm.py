"""Convolutional RBMs against the ordinary RBM that each is, and its enumeration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.convolutional import ConvolutionalLearning
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.partition.ais import PathFromBase, ais, reverse_ais
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.errors import InvalidArgumentError
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch, Clamp
from tests.oracle.checks import exact_gradient, make_context
from tests.oracle.convolution import SHAPES, dense_weight, tiny_convolution, twin
from tests.oracle.joint import Joint, mean_log_likelihood
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

close = torch.testing.assert_close
BITS = [name for name in SHAPES if name != "gaussian"]


@pytest.fixture(params=SHAPES)
def rbm(request: pytest.FixtureRequest, generator: torch.Generator) -> ConvolutionalRBM:
    return tiny_convolution(request.param, generator)


@pytest.fixture
def x(rbm: ConvolutionalRBM, generator: torch.Generator) -> Tensor:
    return rbm.visible.sample(torch.zeros(6, rbm.visible.size).double(), generator).detach()


def test_products_are_those_of_all_pairs(rbm: ConvolutionalRBM, x: Tensor, generator: torch.Generator) -> None:
    weight, h = dense_weight(rbm), rbm.sample_h_from_v(x, generator)
    close(rbm.input_h_from_v(x), x @ weight)
    close(rbm.input_v_from_h(h), h @ weight.T)
    filters = rbm.filters.detach().clone().requires_grad_()
    (wanted,) = torch.autograd.grad((x @ dense_weight(rbm, filters) * h).sum(), filters)
    close(rbm.filter_products(x, h), wanted)
    close(rbm.rows(rbm.maps(h)), h)


def test_energies_and_log_z_are_those_of_the_twin(rbm: ConvolutionalRBM, x: Tensor, generator: torch.Generator) -> None:
    joint, h = Joint.of(twin(rbm)), rbm.sample_h_from_v(x, generator)
    close(rbm.energy(x, h), joint.energy(torch.cat([x, h], 1)))
    close(float(exact_log_z(rbm)), joint.log_z.item())
    found = rbm.log_likelihood(x)
    close(found.value, torch.stack([joint.given_visible(row).log_z - joint.log_z for row in x]))
    assert found.kind == "exact"


def test_codes_say_whether_a_block_is_on(rbm: ConvolutionalRBM, x: Tensor) -> None:
    joint, code = Joint.of(twin(rbm)), rbm.encode(x)
    assert code.shape == (6, rbm.pooled_shape[0] * rbm.pooled_shape[1] * rbm.pooled_shape[2])
    mean = joint.given_visible(x[0]).moments()[0][rbm.visible.size :]
    close(code[0], mean.reshape(-1, rbm.pool**2).sum(1))
    assert rbm.decode(code).shape == x.shape


def gibbs_p_value(rbm: ConvolutionalRBM, generator: torch.Generator, clamp: Clamp | None = None) -> float:
    joint = Joint.of(twin(rbm))
    if clamp is not None:
        row = torch.cat([clamp.values, clamp.values.new_zeros(rbm.hidden.size)])
        joint = joint.given(row, torch.cat([clamp.known, torch.zeros(rbm.hidden.size, dtype=torch.bool)]))
    state = ChainState(*joint.halves(joint.draw(20_000, generator)))
    state, _ = BlockGibbs(rbm).step(state, clamp=clamp, generator=generator)
    return joint.p_value(torch.cat([state.v, state.h], 1))


@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
def test_gibbs_keeps_the_law(rbm: ConvolutionalRBM, x: Tensor, generator: torch.Generator, clamped: bool) -> None:
    clamp = Clamp(x[0], torch.arange(rbm.visible.size) % 3 == 0) if clamped else None
    assert gibbs_p_value(rbm, generator, clamp) > FALSE_ALARM


def test_maps_in_the_wrong_order_are_seen(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: units of a map laid out row by row, as if no blocks were cut out of it."""
    rbm = tiny_convolution("two blocks", generator)
    with torch.no_grad():
        rbm.filters.fill_(1.5)  # one number, which must not be small by chance
    monkeypatch.setattr(ConvolutionalRBM, "rows", lambda self, maps: maps.flatten(1))
    assert gibbs_p_value(rbm, generator) < FALSE_ALARM


def test_annealing_brackets(rbm: ConvolutionalRBM, generator: torch.Generator) -> None:
    truth, betas = float(exact_log_z(rbm)), torch.linspace(0, 1, 20)
    ratio = truth - PathFromBase(rbm).independent_log_z()
    forward = ais(rbm, n_chains=10_000, betas=betas, generator=generator)
    assert means_p_value((forward.log_weights - ratio).exp(), 1.0) > FALSE_ALARM
    joint = Joint.of(twin(rbm))
    v, _ = joint.halves(joint.draw(10_000, generator))
    reverse = reverse_ais(rbm, v, betas=betas, generator=generator)
    assert abs(reverse.log_z - truth) < 8 * max(reverse.stderr, 1e-9) + 1e-9
    assert log_z(rbm, "ais", n_chains=50, betas=50, burn_in=10, generator=generator).kind == "estimate"


# -- learning -------------------------------------------------------------------------------------------------------


def library_step(rbm: ConvolutionalRBM, batch: Batch, *, centred: bool, **options: float) -> dict[str, Tensor]:
    """The ascent direction of one step at a rate of zero, with the shared ones times the places that share them."""
    learning = ConvolutionalLearning(rbm, ExactModel(), learning_rate=0.0, offset_rate=0.0, centred=centred, **options)  # type: ignore[arg-type]
    learning.start(batch, make_generator(0))
    learning.step(batch, make_context(make_generator(0)))
    places = rbm.maps_shape[1] * rbm.maps_shape[2]
    found = {name: -parameter.grad for name, parameter in rbm.named_parameters()}  # type: ignore[operator]
    of_maps = found["hidden.bias"].unflatten(0, (rbm.maps_shape[0], -1))
    close(of_maps, of_maps[:, :1].expand_as(of_maps))  # a map keeps one bias
    return {**found, "filters": places * found["filters"], "hidden.bias": places * of_maps[:, 0]}


def exact_step(rbm: ConvolutionalRBM, batch: Batch, *, centred: bool) -> dict[str, Tensor]:
    """By automatic differentiation of the enumerated likelihood, in filters, pixels' biases and one bias for each map.

    With `centred` in the biases of ``E = -sum (v - mu) F (h - lambda) - ...``, carried back; the shared ones weigh
    ``1 / places`` there as well.
    """
    dense, n_filters = twin(rbm), rbm.maps_shape[0]
    places, by_map = rbm.maps_shape[1] * rbm.maps_shape[2], rbm.hidden.size // n_filters
    pictures = rbm.pictures(rbm.visible_offset.unsqueeze(0))
    mu = pictures.mean((2, 3), keepdim=True).expand_as(pictures).flatten() * float(centred)
    lambda_ = rbm.hidden_offset.unflatten(0, (n_filters, -1)).mean(1).repeat_interleave(by_map) * float(centred)
    filters = rbm.filters.detach().clone().requires_grad_()
    weight = dense_weight(rbm, filters)
    b = (rbm.visible.bias + weight @ lambda_).detach().requires_grad_()
    c = (rbm.hidden.bias + weight.T @ mu)[::by_map].detach().requires_grad_()
    plain = {
        "weight": weight,
        "visible.bias": b - weight @ lambda_,
        "hidden.bias": c.repeat_interleave(by_map) - weight.T @ mu,
    }
    others = {name: value for name, value in dense.named_parameters() if name not in plain}
    score = Score(dense)
    value = torch.func.functional_call(score, {f"rbm.{n}": v for n, v in {**others, **plain}.items()}, (batch,))
    names = list(others)
    df, db, dc, *rest = torch.autograd.grad(value, [filters, b, c, *others.values()])
    moved = dense_weight(rbm, df / places)  # the step that the shared filters make
    return {
        "filters": df,
        "visible.bias": db - moved @ lambda_,
        "hidden.bias": dc - places * (moved.T @ mu)[::by_map],
        **dict(zip(names, rest, strict=True)),
    }


class Score(torch.nn.Module):
    def __init__(self, rbm: torch.nn.Module) -> None:
        super().__init__()
        self.rbm = rbm

    def forward(self, batch: Batch) -> Tensor:
        return mean_log_likelihood(self.rbm, batch.x, batch.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_the_gradient_is_that_of_the_likelihood(
    rbm: ConvolutionalRBM, x: Tensor, generator: torch.Generator, centred: bool, weighted: bool
) -> None:
    weight = torch.rand(len(x), generator=generator).double() + 0.1 if weighted else None
    batch = Batch(x, weight=weight)
    found, wanted = library_step(rbm, batch, centred=centred), exact_step(rbm, batch, centred=centred)
    assert found.keys() == wanted.keys()
    for name in wanted:
        close(found[name], wanted[name], msg=lambda text, name=name: f"{name}: {text}")


def test_the_dense_gradient_agrees_where_nothing_is_shared(generator: torch.Generator) -> None:
    """One place: the filter is the whole picture, and the machine an RBM."""
    rbm = ConvolutionalRBM((1, 2, 2), 3, 2, pool=1, weight_std=0.5, generator=generator).double()
    batch = Batch(torch.randint(0, 2, (5, 4), generator=generator).double())
    found = library_step(rbm, batch, centred=False)
    wanted = exact_gradient(twin(rbm), batch, centred=False)
    close(found["filters"].flatten(1).T, wanted["weight"])


def test_decay_and_sparsity_pull_as_they_say(rbm: ConvolutionalRBM, x: Tensor) -> None:
    batch, target = Batch(x), 0.5 / rbm.hidden.group_size
    plain = library_step(rbm, batch, centred=False)
    pulled = library_step(rbm, batch, centred=False, l2=0.1, l1=0.3, sparsity_target=target, sparsity_cost=2.0)
    places, filters = rbm.maps_shape[1] * rbm.maps_shape[2], rbm.filters.detach()
    close(pulled["filters"] - plain["filters"], -places * (0.1 * filters + 0.3 * filters.sign()))
    active = rbm.maps(rbm.hidden_offset).mean((2, 3))[0]
    close(pulled["hidden.bias"] - plain["hidden.bias"], -2.0 * places * (active - target))


@pytest.mark.parametrize("negative", [PersistentChains(200, 2), ContrastiveDivergence(1)], ids=["pcd", "cd"])
def test_learning_raises_the_likelihood(negative: PersistentChains, generator: torch.Generator) -> None:
    bar = torch.zeros(6, 3, 3)
    for i in range(3):
        bar[i, i], bar[3 + i, :, i] = 1, 1
    x = bar.flatten(1).repeat(20, 1)
    rbm = ConvolutionalRBM((1, 3, 3), 4, 2, pool=2, generator=generator)
    rbm.match_data(x)
    before = float(rbm.log_likelihood(x).mean())
    learning = ConvolutionalLearning(rbm, negative, learning_rate=2.0)
    Trainer(epochs=100, progress=False).fit(learning, make_source(x, batch_size=30))
    assert float(rbm.log_likelihood(x).mean()) > before + 0.5  # bars are worth more than half a nat


def test_learning_resumes_bit_for_bit(tmp_path: Path) -> None:
    x = torch.randint(0, 2, (40, 36), generator=make_generator(1)).float()

    def trained(epochs: int, folder: Path, resume: bool = False) -> ConvolutionalRBM:
        rbm = ConvolutionalRBM((6, 6), 2, 3, generator=make_generator(0))
        learning = ConvolutionalLearning(rbm, PersistentChains(10), learning_rate=0.1, momentum=0.5)
        trainer = Trainer(epochs=epochs, progress=False, checkpoint_dir=folder)
        trainer.fit(learning, make_source(x, batch_size=10), resume_from=folder if resume else None)
        return rbm

    whole = trained(4, tmp_path / "a")
    trained(2, tmp_path / "b")
    again = trained(4, tmp_path / "b", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


# -- use ------------------------------------------------------------------------------------------------------------


def test_it_is_saved_and_loaded(rbm: ConvolutionalRBM, x: Tensor, tmp_path: Path) -> None:
    loaded = load_model(save_model(rbm, tmp_path / "m")).double()
    close(loaded.free_energy(x), rbm.free_energy(x), rtol=1e-5, atol=1e-5)
    assert loaded.config() == rbm.config()


def test_it_samples_and_completes(generator: torch.Generator) -> None:
    rbm = tiny_convolution("one block", generator)
    known = torch.arange(9) < 6
    x = torch.ones(4000, 9).double()
    filled = rbm.complete(x, known, n_steps=20, n_average=10, generator=generator)
    row, both = torch.ones(9 + rbm.hidden.size).double(), torch.cat([known, torch.zeros(rbm.hidden.size).bool()])
    joint = Joint.of(twin(rbm)).given(row, both)
    wanted = joint.moments()[0][:9]
    assert means_p_value(filled[:, 6:], wanted[6:]) > FALSE_ALARM
    assert torch.equal(filled[:, :6], x[:, :6])
    drawn = rbm.sample(50, condition=Clamp(x[0], known), n_steps=5, generator=generator)
    assert torch.equal(drawn[:, :6], x[:50, :6])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((6, 6), 2, 3, 3), "pool must divide the 4 rows and 4 columns"),
        (((6, 6), 2, 7, 1), "filter_size must be at least 1 and at most 6"),
        (((6,), 2, 3, 1), r"image_shape must be \(channels, height, width\)"),
        (((6, 6), 0, 3, 2), "n_filters must be at least 1"),
    ],
)
def test_bad_shapes_get_a_sentence(arguments: tuple, sentence: str) -> None:
    shape, n_filters, size, pool = arguments
    with pytest.raises(InvalidArgumentError, match=sentence):
        ConvolutionalRBM(shape, n_filters, size, pool=pool)
