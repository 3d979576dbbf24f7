"""Distances between sets of features: closed forms, slow twins, exact expectations under one law, planted bugs."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.evaluation import kernel_distance as kid_file
from deepbelief.evaluation import prdc as prdc_file
from deepbelief.evaluation.frechet import frechet_distance, gaussian_frechet_distance, moments
from deepbelief.evaluation.kernel_distance import kernel_distance
from deepbelief.evaluation.prdc import PRDC, prdc
from tests.oracle.pvalues import FALSE_ALARM, means_p_value


def random_covariance(width: int, generator: torch.Generator) -> Tensor:
    root = torch.randn(width, width, dtype=torch.float64, generator=generator)
    return root @ root.T


def rotation(width: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width, dtype=torch.float64, generator=generator))[0]


# -- Frechet ------------------------------------------------------------------------------------------------------


def test_frechet_distance_of_normal_laws_with_common_axes_is_in_closed_form(generator: torch.Generator) -> None:
    axes, mean, other = rotation(5, generator), torch.arange(5.0).double(), torch.ones(5).double()
    a, b = (torch.rand(5, dtype=torch.float64, generator=generator) + 0.1 for _ in range(2))
    b[0] = 0.0  # a singular covariance
    covariances = [axes @ torch.diag(values) @ axes.T for values in (a, b)]
    found = gaussian_frechet_distance((mean, covariances[0]), (other, covariances[1]))
    wanted = (mean - other).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert found == pytest.approx(float(wanted), abs=1e-6)  # a root of rounding, 1e-16, is 1e-8


def test_frechet_distance_agrees_with_the_root_of_the_product(generator: torch.Generator) -> None:
    a, b = random_covariance(6, generator), random_covariance(6, generator)
    mean = torch.zeros(6, dtype=torch.float64)
    wanted = float(a.trace() + b.trace()) - 2 * sqrtm((a @ b).numpy()).trace().real
    assert gaussian_frechet_distance((mean, a), (mean, b)) == pytest.approx(wanted, rel=1e-9)


def test_frechet_distance_is_invariant_and_zero_for_the_same_set(generator: torch.Generator) -> None:
    x, y = (torch.randn(n, 4, generator=generator).double() for n in (50, 60))
    turn, shift = rotation(4, generator), torch.randn(4, dtype=torch.float64, generator=generator)
    value = frechet_distance(x, y)
    assert value == pytest.approx(frechet_distance(y, x))
    assert value == pytest.approx(frechet_distance(x @ turn + shift, y @ turn + shift))
    assert frechet_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * value)


def test_moments_are_unbiased(generator: torch.Generator) -> None:
    draws = [moments(torch.randn(4, 1, generator=generator))[1].reshape(1) for _ in range(4000)]
    assert means_p_value(torch.stack(draws), 1.0) > FALSE_ALARM
    with pytest.raises(InvalidDataError, match="finite"):
        moments(torch.tensor([[math.nan], [0.0]]))


# -- kernel distance ----------------------------------------------------------------------------------------------


def kernel_mean_under_one_law(generator: torch.Generator) -> float:
    """The p-value that MMD^2 has mean 0 where both sets come from one law."""
    values = [
        kernel_distance(torch.randn(8, 3, generator=generator), torch.randn(6, 3, generator=generator)).value
        for _ in range(1500)
    ]
    return means_p_value(torch.tensor(values).unsqueeze(1), 0.0)


def test_kernel_distance_is_unbiased(generator: torch.Generator) -> None:
    assert kernel_mean_under_one_law(generator) > FALSE_ALARM


def test_planted_bug_a_case_beside_itself_is_seen(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = kid_file._row_sums

    def with_own(x: Tensor, y: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        rows, columns = sums(x, y, chunk)
        own = 0.1 * kid_file._kernel(x.square().sum(1), x.shape[1]) if x is y else 0.0
        return rows + own, columns

    monkeypatch.setattr(kid_file, "_row_sums", with_own)
    assert kernel_mean_under_one_law(generator) < FALSE_ALARM


def slow_kernel_distance(x: Tensor, y: Tensor) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m, n = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


def test_kernel_distance_and_its_jackknife_agree_with_slow_twins(generator: torch.Generator) -> None:
    x, y = torch.randn(7, 3, generator=generator).double(), 1 + torch.randn(5, 3, generator=generator).double()
    found = kernel_distance(x, y, chunk=3)
    assert found.value == pytest.approx(slow_kernel_distance(x, y))
    variance = 0.0
    for own, other, swap in ((x, y, False), (y, x, True)):
        kept = [torch.cat([own[:i], own[i + 1 :]]) for i in range(len(own))]
        without = torch.tensor([slow_kernel_distance(*((other, part) if swap else (part, other))) for part in kept])
        variance += (len(own) - 1) / len(own) * float((without - without.mean()).square().sum())
    assert found.stderr == pytest.approx(math.sqrt(variance), rel=1e-5)


def test_kernel_distance_sees_a_third_moment(generator: torch.Generator) -> None:
    skewed = torch.empty(4000, 1).exponential_(generator=generator) - 1
    found = kernel_distance(torch.randn(4000, 1, generator=generator), skewed)
    # by hand in one dimension: the feature map of (xy + 1)^3 weights the gap of third moments, 2, by 1
    assert abs(found.value - 4.0) < 6 * found.stderr


# -- precision, recall, density, coverage -------------------------------------------------------------------------


def slow_prdc(real: Tensor, samples: Tensor, k: int) -> PRDC:
    def radius(x: Tensor, i: int) -> float:
        return sorted(float((x[i] - x[j]).norm()) for j in range(len(x)) if j != i)[k - 1]

    r = [radius(real, i) for i in range(len(real))]
    s = [radius(samples, j) for j in range(len(samples))]
    distance = [[float((a - b).norm()) for b in samples] for a in real]
    n, m = len(real), len(samples)
    return PRDC(
        precision=sum(any(distance[i][j] <= r[i] for i in range(n)) for j in range(m)) / m,
        recall=sum(any(distance[i][j] <= s[j] for j in range(m)) for i in range(n)) / n,
        density=sum(distance[i][j] <= r[i] for i in range(n) for j in range(m)) / (k * m),
        coverage=sum(any(distance[i][j] <= r[i] for j in range(m)) for i in range(n)) / n,
    )


@pytest.mark.parametrize("entries", [1, 200, 10**6])
def test_prdc_agrees_with_a_slow_twin(
    entries: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prdc_file, "ENTRIES", entries)
    real, samples = (torch.randn(n, 3, generator=generator).double() for n in (30, 25))
    found, wanted = prdc(real, samples + 0.5, k=3), slow_prdc(real, samples + 0.5, 3)
    assert vars(found) == pytest.approx(vars(wanted))
    turn = rotation(3, generator)
    assert vars(prdc(real @ turn + 100, (samples + 0.5) @ turn + 100, k=3)) == pytest.approx(vars(wanted))


def prdc_means_under_one_law(generator: torch.Generator, n: int = 12, m: int = 9, k: int = 3) -> float:
    """The p-value of the exact means of density and coverage where both sets come from one law."""
    found = [
        prdc(torch.randn(n, 2, generator=generator), torch.randn(m, 2, generator=generator), k=k) for _ in range(1500)
    ]
    wanted = torch.tensor([1.0, 1 - math.comb(n - 1, k) / math.comb(n + m - 1, k)], dtype=torch.float64)
    return means_p_value(torch.tensor([[one.density, one.coverage] for one in found]), wanted)


def test_density_and_coverage_have_their_exact_means_under_one_law(generator: torch.Generator) -> None:
    assert prdc_means_under_one_law(generator) > FALSE_ALARM


def test_planted_bug_a_case_as_its_own_neighbour_is_seen(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    radii = prdc_file.kth_distances
    monkeypatch.setattr(prdc_file, "kth_distances", lambda x, k: radii(x, k - 1))
    assert prdc_means_under_one_law(generator) < FALSE_ALARM


def test_copies_are_inside_every_ball_and_far_samples_in_none(generator: torch.Generator) -> None:
    real = torch.rand(40, 5, generator=generator).round()  # bits: many ties and doubles
    copies, far = prdc(real, real.flip(0)), prdc(real, real + 50)
    assert (copies.precision, copies.recall, copies.coverage) == (1, 1, 1)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    with pytest.raises(InvalidArgumentError, match="k must be"):
        prdc(real, real[:5], k=5)


@pytest.mark.slow
def test_prdc_of_two_normal_sets_is_as_published(generator: torch.Generator) -> None:
    # the published numbers are of one draw of 10,000 x 1000; over 10 draws here density has a standard deviation of
    # 0.07 about its exact mean of 1, the others of 0.005 to 0.009
    found = vars(prdc(*(torch.randn(10_000, 1000, generator=generator) for _ in range(2)), k=5))
    published = {"precision": (0.4772, 0.009), "recall": (0.4705, 0.006), "density": (1.0555, 0.07)}
    for name, (value, deviation) in (published | {"coverage": (0.9735, 0.006)}).items():
        assert abs(found[name] - value) < 5 * 2**0.5 * deviation, name
