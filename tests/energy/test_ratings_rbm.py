"""The ratings RBM against sums over all ratings and hidden states, written down from its definition."""

from itertools import product

import pytest
import torch
from torch import Tensor

from deepbelief.energy.ratings_rbm import Entries, RatingsRBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.storage import load_model, save_model
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.spin import Spin
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value

RATINGS = [1.0, 2.0, 4.0]
N_COLUMNS = 5
SETTINGS = [
    ("free", "bernoulli", None, True),
    ("linear", "bernoulli", 3.0, True),
    ("quadratic", "spin", 3.0, False),
    ("linear", "gaussian", 3.0, True),
]
every_setting = pytest.mark.parametrize(("features", "hidden", "shrinkage", "rated"), SETTINGS)


@torch.no_grad()
def tiny_ratings(
    features: str, hidden: str, shrinkage: float | None, rated: bool, generator: torch.Generator
) -> RatingsRBM:
    """A model with random parameters, three hidden units, and features as after some data."""
    units = {"bernoulli": Bernoulli, "spin": Spin, "gaussian": Gaussian}[hidden](3)
    model = RatingsRBM(N_COLUMNS, units, RATINGS, features=features, rated=rated, shrinkage=shrinkage).double()
    model.match_counts(torch.randint(1, 9, (N_COLUMNS, 3), generator=generator))
    for name, parameter in model.named_parameters():
        if name != "hidden.log_precision":
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.6 * noise + (1.0 if name == "log_shrinkage" else 0.0))
    return model


def some_codes(generator: torch.Generator, n: int = 4) -> Tensor:
    codes = torch.randint(0, 4, (n, N_COLUMNS), generator=generator).double()
    codes[:, 0] = torch.randint(1, 4, (n,), generator=generator).double()  # nobody has rated nothing
    return codes


def minus_energy(model: RatingsRBM, codes: Tensor, h: Tensor) -> Tensor:
    """``-E(v, h | r)`` of one row, term by term as the definition has it; differentiable."""
    columns = [i for i in range(N_COLUMNS) if codes[i] > 0]
    total = h @ model.hidden.bias
    for i in columns:
        phi = model.features[int(codes[i]) - 1]
        total = total + model.value_bias[int(codes[i]) - 1] + phi @ model.column_bias[i]
        sent = (phi - model.centre[i]) @ (model.weight[i] + model.shared_weight)
        if model.rated is not None:
            sent = sent + model.rated[i]
        s = 1.0 if model.log_shrinkage is None else (len(columns) + model.log_shrinkage.exp()) ** -0.5
        total = total + (sent * s) @ h
    return total


def log_weight(model: RatingsRBM, codes: Tensor) -> Tensor:
    """``log sum_h exp(-E)`` of one row, over all states of discrete hidden units."""
    values = (0.0, 1.0) if model.hidden.kind == "bernoulli" else (-1.0, 1.0)
    states = torch.tensor(list(product(values, repeat=model.hidden.size)), dtype=torch.float64)
    return torch.logsumexp(torch.stack([minus_energy(model, codes, h) for h in states]), 0)


def conditional_by_hand(model: RatingsRBM, codes: Tensor, column: int) -> Tensor:
    """``log p(v_i = k | other ratings)`` for every k."""
    rows = [torch.cat([codes[:column], torch.tensor([k + 1.0]).double(), codes[column + 1 :]]) for k in range(3)]
    return torch.log_softmax(torch.stack([log_weight(model, row) for row in rows]), 0)


def one_hot_row(codes: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(codes[codes > 0].long() - 1, 3).flatten().double()


@every_setting
def test_the_law_is_that_of_the_rbm_of_its_columns(
    features: str, hidden: str, shrinkage: float | None, rated: bool, generator: torch.Generator
) -> None:
    model, codes = tiny_ratings(features, hidden, shrinkage, rated, generator), some_codes(generator)
    found = model.log_likelihood(codes)
    assert found.kind == "exact"
    for row, energy, log_p in zip(codes, model.free_energy(codes), found.value, strict=True):  # type: ignore[arg-type]
        rbm = model.rbm_of(row.nonzero().squeeze(1))
        joint = Joint.of(rbm)
        torch.testing.assert_close(-energy, joint.given_visible(one_hot_row(row)).log_z)
        torch.testing.assert_close(log_p, joint.given_visible(one_hot_row(row)).log_z - joint.log_z)
        if hidden != "gaussian":
            torch.testing.assert_close(-energy, log_weight(model, row))


@every_setting
def test_conditionals_are_the_enumerated_ones(
    features: str, hidden: str, shrinkage: float | None, rated: bool, generator: torch.Generator
) -> None:
    model, codes = tiny_ratings(features, hidden, shrinkage, rated, generator), some_codes(generator)
    rows, columns = (index.flatten() for index in torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij"))
    found = model.log_conditional(codes, rows, columns)
    for row, column, log_p in zip(rows.tolist(), columns.tolist(), found, strict=True):
        others = codes[row].clone()
        others[column] = 0
        if hidden == "gaussian":
            energies = []
            for k in range(3):
                others[column] = k + 1
                energies.append(-model.free_energy(others.unsqueeze(0))[0])
            wanted = torch.log_softmax(torch.stack(energies), 0)
        else:
            wanted = conditional_by_hand(model, others, column)
        torch.testing.assert_close(log_p, wanted)
    expected = model.expected(codes, rows, columns)
    torch.testing.assert_close(expected, found.exp() @ torch.tensor(RATINGS).double())


@pytest.mark.parametrize("planted", [False, True])
def test_a_sweep_keeps_the_law(planted: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_ratings("linear", "bernoulli", 3.0, True, generator)
    columns = torch.tensor([0, 2, 4])
    joint = Joint.of(model.rbm_of(columns))
    n = 50_000
    v, _ = joint.halves(joint.draw(n, generator))
    x = torch.zeros(n, N_COLUMNS).double()
    x[:, columns] = v.view(n, 3, 3).argmax(2).double() + 1
    if planted:  # hidden units that forget how many ratings there are
        monkeypatch.setattr(model, "scale", lambda counts: torch.ones(len(counts), 3).double())
    moved = model.resample(Entries.of(x), generator)
    number = moved.values.view(n, 3) @ torch.tensor([9, 3, 1])
    weights = joint.probabilities.view(27, -1).sum(1)
    assert (counts_p_value(torch.bincount(number, minlength=27), weights) > FALSE_ALARM) != planted


def test_it_is_saved_and_read_back(generator: torch.Generator, tmp_path: object) -> None:
    for number, setting in enumerate(SETTINGS):
        model, codes = tiny_ratings(*setting, generator), some_codes(generator)
        found = load_model(save_model(model, f"{tmp_path}/{number}"))
        assert torch.equal(found.encode(codes), model.encode(codes))


@pytest.mark.parametrize("hidden", ["bernoulli", "gaussian"])
def test_a_row_without_ratings_is_certain(hidden: str, generator: torch.Generator) -> None:
    model = tiny_ratings("linear", hidden, 3.0, True, generator)
    found = model.log_likelihood(torch.zeros(2, N_COLUMNS).double())
    assert found.kind == "exact"
    torch.testing.assert_close(found.value, torch.zeros(2).double())


def test_wrong_codes_and_settings_are_refused() -> None:
    model = RatingsRBM(3, 2, RATINGS)
    with pytest.raises(InvalidDataError, match="codes from 0"):
        model.check_values(torch.tensor([[0.0, 4.0, 1.0]]))
    with pytest.raises(InvalidDataError, match="must have shape"):
        model.check_values(torch.zeros(2, 4))
    with pytest.raises(InvalidArgumentError, match="rising order"):
        RatingsRBM(3, 2, [1.0, 1.0])
    with pytest.raises(InvalidArgumentError, match="Did you mean 'linear'"):
        RatingsRBM(3, 2, RATINGS, features="linaer")
