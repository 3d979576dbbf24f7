"""What every kind of units must keep: one test over all kinds, against sums and integrals from the definition."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import integrate
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.binomial import Binomial
from deepbelief.units.catalog import KINDS, make_units, units_from_config
from deepbelief.units.categorical import Categorical
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.multinomial import Multinomial
from deepbelief.units.poisson import Poisson
from deepbelief.units.rectified import Rectified
from deepbelief.units.side_by_side import SideBySide
from deepbelief.units.spin import Spin
from tests.oracle.checks import unit_law
from tests.oracle.joint import find, log_ways_at, rows_of
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import DISCRETE, INFINITE, ZOO, tiny_units

close = torch.testing.assert_close


@pytest.fixture(params=ZOO)
def units(request: pytest.FixtureRequest, generator: torch.Generator) -> Units:
    return tiny_units(request.param, generator)


@pytest.fixture
def inputs(units: Units, generator: torch.Generator) -> Tensor:
    return torch.randn(4, units.size, generator=generator, dtype=torch.float64)


def parameters(units: Units) -> dict[str, Tensor]:
    return dict(units.named_parameters())


def test_values_lie_between_the_ends(units: Units, generator: torch.Generator) -> None:
    """Draws under strong inputs of both signs come near both ends, and none goes beyond."""
    draws = units.sample(30 * torch.randn(200, units.size, generator=generator, dtype=torch.float64), generator)
    assert draws.min() >= units.least
    assert draws.max() <= units.most
    if units.bounded:
        assert (draws.min(), draws.max()) == (units.least, units.most)


def test_the_zoo_has_every_kind() -> None:
    assert {factory().kind for factory in ZOO.values()} == set(KINDS) == set(Units.kinds)


@pytest.mark.parametrize("kind", DISCRETE)
def test_cumulant_is_the_log_sum_over_all_states(kind: str, generator: torch.Generator) -> None:
    units = tiny_units(kind, generator)
    inputs = torch.randn(4, units.size, generator=generator, dtype=torch.float64)
    states = torch.tensor(rows_of(units), dtype=torch.float64)
    close(units.cumulant(inputs), torch.logsumexp(inputs @ states.T - units.potential(states), 1))


def test_cumulant_of_poisson_units_is_the_log_sum_over_the_counts(generator: torch.Generator) -> None:
    units = tiny_units("poisson", generator)
    inputs, counts = torch.tensor([[-9.0], [0.0], [3.0]]).double(), torch.arange(200.0).double().unsqueeze(1)
    close(units.cumulant(inputs), torch.logsumexp(inputs @ counts.T - units.potential(counts), 1))


@pytest.mark.parametrize(("kind", "low"), [("gaussian", -40), ("rectified", 0)])
def test_cumulant_of_real_units_is_the_log_integral(kind: str, low: int, generator: torch.Generator) -> None:
    units = tiny_units(kind, generator)
    for row in 2 * torch.randn(3, units.size, generator=generator, dtype=torch.float64):
        for i in range(units.size):
            alone = make_units(kind, 1).double()
            alone.load_state_dict({name: value[i : i + 1] for name, value in units.state_dict().items()})
            weight = lambda x, one=alone, a=row[i]: torch.exp(
                a * x - one.potential(torch.tensor([x], dtype=torch.float64))
            ).item()
            total, error = integrate.quad(weight, low, 40, points=[0.1], epsabs=1e-12)
            assert abs(alone.cumulant(row[i : i + 1]).exp().item() - total) <= max(error, 1e-9 * total)


@pytest.mark.parametrize("kind", ZOO)
def test_potential_is_written_from_its_definition(kind: str, generator: torch.Generator) -> None:
    units = tiny_units(kind, generator)
    x = units.sample(torch.ones(9, units.size, dtype=torch.float64), generator)
    wanted = -x @ units.bias
    for name, log_precision in parameters(units).items():
        if name.endswith("log_precision"):  # in the zoo, Gaussian columns come first
            wanted = wanted + 0.5 * (log_precision.exp() * x[:, : len(log_precision)] ** 2).sum(1)
    close(units.potential(x), wanted - log_ways_at(units, x))


def test_layers_of_any_leading_shape(units: Units, inputs: Tensor) -> None:
    cube = inputs.reshape(2, 2, -1)
    for function in (units.potential, units.cumulant, units.mean):
        close(function(cube).flatten(0, 1), function(inputs))


def test_mean_is_the_gradient_of_the_cumulant(units: Units, inputs: Tensor) -> None:
    inputs.requires_grad_()
    (gradient,) = torch.autograd.grad(units.cumulant(inputs).sum(), inputs)
    close(units.mean(inputs), gradient)


def test_extreme_inputs_stay_finite(units: Units) -> None:
    single = units.float()
    for size in (-1e4, 1e4):
        inputs = torch.full((2, units.size), size)
        assert torch.isfinite(single.cumulant(inputs)).all()
        assert torch.isfinite(single.mean(inputs)).all()


def test_sample_has_the_law(units: Units, inputs: Tensor, generator: torch.Generator) -> None:
    for row in inputs:
        assert unit_law(units, row, 20_000, generator) > FALSE_ALARM


@pytest.mark.parametrize("kind", DISCRETE)
def test_log_prob_sums_to_one(kind: str, generator: torch.Generator) -> None:
    units = tiny_units(kind, generator)
    states = torch.cat(list(units.states()))
    for row in torch.randn(3, units.size, generator=generator, dtype=torch.float64):
        close(torch.logsumexp(units.log_prob(states, row.expand_as(states)), 0), torch.zeros(()).double())


def test_log_prob_of_gaussian_units_integrates_to_one(generator: torch.Generator) -> None:
    units = tiny_units("gaussian", generator)
    line = torch.linspace(-20, 20, 801, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    log_prob = units.log_prob(plane, torch.randn(2, generator=generator).double().expand_as(plane))
    close(log_prob.exp().sum() * (line[1] - line[0]) ** 2, torch.ones(()).double())


def per_case_gradient(function: Callable[[], Tensor], parameter: Tensor) -> Tensor:
    values = function()
    return torch.stack([torch.autograd.grad(value, parameter, retain_graph=True)[0] for value in values])


def test_statistics_are_the_gradients_of_minus_the_potential(units: Units, generator: torch.Generator) -> None:
    x = units.sample(torch.zeros(3, units.size).double(), generator).detach()
    statistics = units.statistics(x)
    assert statistics.keys() == {name for name in parameters(units) if not name.endswith("bias")}
    for name, statistic in statistics.items():
        close(statistic, per_case_gradient(lambda: -units.potential(x), parameters(units)[name]))
    close(x, bias_gradient(units, lambda: -units.potential(x)))


def test_expected_statistics_are_the_gradients_of_the_cumulant(units: Units, inputs: Tensor) -> None:
    mean = units.mean(inputs)
    expected = units.expected_statistics(inputs, mean)
    assert expected.keys() == units.statistics(mean).keys()
    for name, statistic in expected.items():
        close(statistic, per_case_gradient(lambda: units.cumulant(inputs), parameters(units)[name]))
    close(mean, bias_gradient(units, lambda: units.cumulant(inputs)))


def bias_gradient(units: Units, function: Callable[[], Tensor]) -> Tensor:
    names = [name for name in parameters(units) if name.endswith("bias")]
    return torch.cat([per_case_gradient(function, parameters(units)[name]) for name in names], 1)


def test_set_gradients_reaches_every_parameter(units: Units, inputs: Tensor) -> None:
    bias = torch.arange(units.size).double()
    others = {name: s[0] for name, s in units.expected_statistics(inputs, units.mean(inputs)).items()}
    units.set_gradients(bias, others)
    grads = {name: parameter.grad for name, parameter in units.named_parameters()}
    close(torch.cat([g for name, g in grads.items() if name.endswith("bias")]), bias)  # type: ignore[misc]
    close({name: grads[name] for name in others}, others)


def test_match_gives_the_moments(units: Units, inputs: Tensor, generator: torch.Generator) -> None:
    mean, variance = units.mean(inputs[:1] / 2)[0].detach(), torch.rand(units.size, generator=generator).double() + 0.5
    units.match(mean, variance)
    close(units.mean(torch.zeros_like(mean)), mean)
    for part in [units, *getattr(units, "parts", [])]:
        if isinstance(part, Gaussian):
            close(1 / part.precision, variance[: part.size])


def test_match_keeps_the_precision_when_no_variance_is_given(generator: torch.Generator) -> None:
    units = tiny_units("gaussian", generator)
    before = units.precision.clone()  # type: ignore[operator]
    units.match(torch.tensor([1.0, -2.0]))
    close(units.precision, before)
    close(units.mean(torch.zeros(2).double()), torch.tensor([1.0, -2.0]).double())


def test_match_data_takes_the_moments_of_data(units: Units, generator: torch.Generator) -> None:
    x = units.sample(torch.zeros(500, units.size).double(), generator)
    units.match_data(x)
    close(units.mean(torch.zeros(units.size).double()), x.mean(0))


def test_constant_columns_keep_finite_parameters(units: Units, generator: torch.Generator) -> None:
    units.match_data(units.sample(torch.zeros(1, units.size).double(), generator).expand(10, -1))
    assert all(torch.isfinite(parameter).all() for parameter in units.parameters())


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_blend_is_linear_in_the_potential(beta: float, units: Units, generator: torch.Generator) -> None:
    other = tiny_units(next(k for k, f in ZOO.items() if f().config() == units.config()), generator)
    x = units.sample(torch.zeros(5, units.size).double(), generator)
    blended = units.blend(other, beta)
    close(blended.potential(x), (1 - beta) * units.potential(x) + beta * other.potential(x))


def test_config_rebuilds_the_units(units: Units, inputs: Tensor) -> None:
    twin = units_from_config(units.config()).double()
    assert twin.config() == units.config()
    twin.load_state_dict(units.state_dict())
    close(twin.cumulant(inputs), units.cumulant(inputs), rtol=0, atol=0)
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(twin.parameters(), units.parameters(), strict=True))


@pytest.mark.parametrize("kind", DISCRETE)
def test_states_are_all_there_whatever_the_chunk(kind: str, generator: torch.Generator) -> None:
    units = tiny_units(kind, generator)
    wanted = torch.tensor(rows_of(units), dtype=torch.float64)
    for chunk in (1, 5, 1000):
        found = torch.cat(list(units.states(chunk)))
        assert len(found) == len(wanted) == units.n_states
        assert sorted(find(wanted, found).tolist()) == list(range(len(wanted)))


@pytest.mark.parametrize("kind", ["bernoulli", "spin", "categorical", "binomial"])
def test_alternatives_are_the_states_that_differ_in_one_variable(kind: str, generator: torch.Generator) -> None:
    units = tiny_units(kind, generator)
    states, bases = torch.tensor(rows_of(units)).double(), units.bases
    assert bases is not None
    width = units.size // len(bases)
    for i in range(len(bases)):
        copies = units.alternatives(states, torch.full((len(states),), i))
        assert copies.shape == (bases[i], *states.shape)
        others = torch.arange(units.size) // width != i
        assert (copies[:, :, others] == states[:, others]).all()
        assert (torch.stack([find(states, copy) for copy in copies]).sort(0).values.diff(dim=0) > 0).all()
        assert (copies == states).all(2).any(0).all()


@pytest.mark.parametrize("kind", sorted(INFINITE))
def test_infinite_layers_refuse_to_be_enumerated(kind: str, generator: torch.Generator) -> None:
    units = tiny_units(kind, generator)
    assert units.n_states == float("inf")
    with pytest.raises(InvalidArgumentError, match=r"cannot be enumerated.*Use ais"):
        next(units.states())


BAD = [
    (Bernoulli(2), [0.0, 17.0], r"X must lie in \[0, 1\].* Got a value of 17: scale to \[0, 1\] or use Gaussian units"),
    (Bernoulli(2), [0.0, -1.0], r"Got a value of -1"),
    (Bernoulli(2), [0.0, float("nan")], r"X must lie in \[0, 1\].* Got a value of nan"),
    (Spin(2), [-3.0, 1.0], r"X must lie in \[-1, 1\] for spin units. Got a value of -3: code the two values as -1"),
    (Spin(2), [1.0, float("nan")], r"Got a value of nan"),
    (Categorical(1, 3), [1.0, 1.0, 0.0], r"one-hot.*groups of 3.*Got a group with sum 2. Use one_hot coding first"),
    (Categorical(1, 2), [1.5, -0.5], r"one-hot"),
    (Categorical(1, 2), [float("nan"), 1.0], r"one-hot.*Got a group with sum nan"),
    (Gaussian(1), [float("nan")], r"X must be finite. Got NaN or infinity. Fill in or drop these cases first"),
    (Gaussian(1), [float("inf")], r"X must be finite"),
    (Rectified(1), [-0.5], r"X must be finite and at least 0 for rectified units. Got a value of -0.5: shift or clip"),
    (Rectified(1), [float("nan")], r"Got a value of nan"),
    (Poisson(1), [-1.0], r"X must be finite and at least 0 for Poisson units. Got a value of -1: give counts"),
    (Poisson(1), [float("inf")], r"Got a value of inf"),
    (
        Binomial(1, 5),
        [6.0],
        r"X must lie in \[0, 5\] for binomial units of 5 trials. Got a value of 6: use more trials",
    ),
    (Binomial(1, 5), [float("nan")], r"Got a value of nan"),
    (Multinomial(2, 1), [1.0, 1.0], r"sum to 1 in each row.*Got a row with sum 2 .*use a ReplicatedSoftmax"),
    (Multinomial(2, 1), [2.0, -1.0], r"least entry -1"),
    (Multinomial(2, 1), [float("nan"), 1.0], r"sum to 1"),
    (SideBySide([Bernoulli(1), Categorical(1, 2)]), [0.5, 1.0, 1.0], r"X\[:, 1:3\] must be one-hot"),
    (SideBySide([Bernoulli(1), Gaussian(1)]), [2.0, 1.0], r"X\[:, 0:1\] must lie in \[0, 1\]"),
]


@pytest.mark.parametrize(("units", "row", "sentence"), BAD, ids=lambda value: str(value)[:30])
def test_values_out_of_range_get_a_sentence(units: Units, row: list[float], sentence: str) -> None:
    with pytest.raises(InvalidDataError, match=sentence):
        units.check_values(torch.tensor([[0.0] * (len(row) - 1) + [1.0], row]))


def test_values_in_range_and_empty_data_pass(units: Units, generator: torch.Generator) -> None:
    x = units.sample(torch.zeros(20, units.size).double(), generator)
    for rows in (x, units.mean(x), x[:0]):
        units.check_values(rows)
        units.check_shape(rows)


def test_wrong_shapes_get_a_sentence(units: Units) -> None:
    for shape in ((3,), (2, units.size + 1), (1, 2, units.size)):
        with pytest.raises(InvalidDataError, match=rf"X must have shape \(cases, {units.size}\). Got .*Reshape it"):
            units.check_shape(torch.zeros(shape))


def test_the_catalog_makes_units_by_name() -> None:
    made = {kind: make_units(kind, 6, n_values=3) for kind in KINDS if kind != "side_by_side"}
    assert {kind: units.size for kind, units in made.items()} == dict.fromkeys(made, 6)
    own = Spin(2)
    assert make_units(own, 2) is own


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: make_units("bernouli", 3), "Did you mean 'bernoulli'"),
        (lambda: make_units("categorical", 7, n_values=3), "n_values must divide the width 7"),
        (lambda: make_units("categorical", 6), "Got n_values=None"),
        (lambda: make_units(Spin(2), 3), "must have size 3, the width of the data. Got size=2"),
        (lambda: units_from_config({"kind": "beta"}), "kind must be one of"),
        (lambda: Bernoulli(0), "size must be at least 1. Got size=0"),
        (lambda: Categorical(0, 2), "n_groups must be at least 1"),
        (lambda: Categorical(1, 1), "n_values must be at least 2"),
        (lambda: Binomial(2, 0), "n_trials must be at least 1. Got n_trials=0"),
        (lambda: Multinomial(2, 0), "n_draws must be at least 1. Got n_draws=0"),
        (lambda: Multinomial(1, 3), "size must be at least 2. Got size=1"),
        (lambda: make_units("binomial", 3), "n_values must be at least 2 for binomial units.*Got n_values=None"),
        (lambda: next(Multinomial(500, 500).states()), "at most 4,194,304 states to be enumerated"),
        (lambda: SideBySide([]), "at least 1 kind of units"),
    ],
)
def test_wrong_arguments_get_a_sentence(call: Callable[[], Units], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        call()
