"""The drop-in: scikit-learn's results and habits, without its bias."""

import inspect
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
import torch
from scipy import sparse, stats
from sklearn.datasets import load_digits

from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.bernoulli_rbm import BernoulliRBM
from deepbelief.estimators.plain_pcd import PlainPCD
from deepbelief.estimators.rowwise import column_of_each_row

FALSE_ALARM = 1e-6
DIGITS = load_digits().data / 16
COLUMNS = (DIGITS[:, 18:28] > 0.5).astype(float)


def log_likelihood(model: Any) -> float:
    """The exact mean log-likelihood of the ten columns under a model of either library."""
    rbm = RBM(10, model.components_.shape[0]).double()
    with torch.no_grad():
        rbm.weight.copy_(torch.from_numpy(np.array(model.components_.T)))
        rbm.hidden.bias.copy_(torch.from_numpy(model.intercept_hidden_))
        rbm.visible.bias.copy_(torch.from_numpy(model.intercept_visible_))
        return float(-rbm.free_energy(torch.from_numpy(COLUMNS)).mean()) - float(exact_log_z(rbm))


def test_signature_and_public_methods_are_scikit_learns() -> None:
    ours, theirs = BernoulliRBM, sklearn.neural_network.BernoulliRBM
    mine, other = (inspect.signature(kind.__init__).parameters for kind in (ours, theirs))
    assert [(p.name, p.kind, p.default) for p in mine.values()] == [(p.name, p.kind, p.default) for p in other.values()]
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= set(dir(ours))


def test_reaches_scikit_learns_likelihood() -> None:
    """Paired by data, eight seeds each, a t-test of the exact log-likelihoods: both 1000 rows, a multiple of 10."""
    settings: dict[str, Any] = {"n_components": 6, "n_iter": 20, "learning_rate": 0.05}
    rows = COLUMNS[:1000]
    reached = [
        [log_likelihood(kind(random_state=seed, **settings).fit(rows)) for seed in range(8)]
        for kind in (BernoulliRBM, sklearn.neural_network.BernoulliRBM)
    ]
    untrained = log_likelihood(BernoulliRBM(6, n_iter=0, random_state=0).fit(rows))
    assert stats.ttest_ind(*reached, equal_var=False).pvalue > FALSE_ALARM
    assert np.mean(reached[0]) > untrained + 1


@pytest.mark.parametrize("n_rows", [1, 3, 10])
def test_gradient_of_a_ragged_batch_is_not_biased(n_rows: int, generator: torch.Generator) -> None:
    """Chains drawn from the model: the mean update must be the exact gradient, however many rows the batch has."""
    rbm = RBM(3, 2, weight_std=1.0, generator=generator)
    v = torch.rand(n_rows, 3, generator=generator).round()
    states = torch.cat(list(rbm.visible.states()))
    share = torch.softmax(-rbm.free_energy(states), 0)
    exact = v.mean(0) - share @ states
    n_chains = 40_000
    start = states[torch.multinomial(share, n_chains, replacement=True, generator=generator)]
    h = rbm.sample_h_from_v(start, generator).detach()
    learner = PlainPCD(rbm.weight.detach().clone(), torch.zeros(3), rbm.hidden.bias.detach().clone(), h)
    learner.step(v, 1.0, generator)
    spread = (share @ states.square() - (share @ states).square()) / n_chains
    z = (learner.b - exact) / spread.sqrt()
    assert 2 * stats.norm.sf(z.abs().max().item()) * 3 > FALSE_ALARM


def test_ragged_last_batch_does_not_move_a_model_that_is_right() -> None:
    """Constant data of one column, p = 1/2: 11 rows in batches of 10 leave scikit-learn's visible bias far off."""
    X = np.tile([[0.0], [1.0]], (55, 1))[:101]

    def biases(kind: Any) -> list[float]:
        fits = [kind(1, n_iter=30, learning_rate=0.3, random_state=seed).fit(X) for seed in range(10)]
        return [float(m.intercept_visible_[0] + m.components_[0, 0] / 2) for m in fits]

    ours, theirs = biases(BernoulliRBM), biases(sklearn.neural_network.BernoulliRBM)
    assert abs(np.mean(ours)) < abs(np.mean(theirs))
    assert stats.ttest_1samp(ours, 0.0).pvalue > FALSE_ALARM


def test_fits_of_dense_and_sparse_rows_are_the_same() -> None:
    dense = BernoulliRBM(5, n_iter=2, random_state=0).fit(DIGITS[:95])
    thin = BernoulliRBM(5, n_iter=2, random_state=0).fit(sparse.csc_matrix(DIGITS[:95]))
    np.testing.assert_array_equal(dense.components_, thin.components_)
    np.testing.assert_array_equal(dense.score_samples(DIGITS), thin.score_samples(sparse.lil_matrix(DIGITS)))
    np.testing.assert_array_equal(dense.gibbs(DIGITS[:5]).shape, thin.gibbs(sparse.csr_matrix(DIGITS[:5])).shape)


def test_partial_fit_goes_on_with_the_chains() -> None:
    model = BernoulliRBM(16, batch_size=20, random_state=9)
    for _ in range(7):
        for batch in np.array_split(DIGITS, 90):
            model.partial_fit(batch)
    assert model.h_samples_.shape == (20, 16)
    start = BernoulliRBM(16, n_iter=0, random_state=9).fit(DIGITS)
    assert model.score_samples(DIGITS).mean() > start.score_samples(DIGITS).mean() + 5


@pytest.mark.parametrize(("dtype_in", "dtype_out"), [(np.float32, np.float32), (np.float64, np.float64), (int, float)])
def test_type_is_kept(dtype_in: Any, dtype_out: Any) -> None:
    model = BernoulliRBM(4, n_iter=1).fit(COLUMNS.astype(dtype_in))
    assert model.components_.dtype == model.transform(COLUMNS.astype(dtype_in)).dtype == dtype_out
    assert model.components_.shape == (4, 10)
    assert model.gibbs(COLUMNS).dtype == bool


def test_setting_the_attributes_changes_the_model() -> None:
    model = BernoulliRBM(2, n_iter=1, random_state=0).fit(COLUMNS)
    model.components_ = np.zeros_like(model.components_)
    model.intercept_hidden_ = np.array([0.0, np.log(3)])
    np.testing.assert_allclose(model.transform(COLUMNS[:1]), [[0.5, 0.75]])
    np.testing.assert_array_equal(model.module_.weight.detach(), np.zeros((10, 2)))


def test_a_line_for_each_iteration(capsys: pytest.CaptureFixture[str]) -> None:
    BernoulliRBM(2, n_iter=2, verbose=True).fit(sparse.csc_matrix([[0.0], [1.0]]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("[BernoulliRBM] Iteration 2, pseudo-likelihood = -")


def test_score_picks_columns_uniformly_and_by_the_case_alone() -> None:
    rows = (np.random.RandomState(0).rand(20_000, 30) < 0.5).astype(float)
    chosen = column_of_each_row(rows, 7, seed=3)
    assert stats.chisquare(np.bincount(chosen, minlength=7)).pvalue > FALSE_ALARM
    np.testing.assert_array_equal(chosen[::-1], column_of_each_row(rows[::-1], 7, seed=3))
    assert (chosen != column_of_each_row(rows, 7, seed=4)).any()


@pytest.mark.parametrize("arguments", [{"n_components": 0}, {"batch_size": 0}, {"n_iter": -1}, {"learning_rate": 0}])
def test_bad_arguments_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        BernoulliRBM(**arguments).fit(COLUMNS)
