"""The Boltzmann machine as an estimator: structure, columns, graphs, resuming."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from deepbelief import BoltzmannMachine
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.errors import InvalidArgumentError

BITS = (load_digits().data[:200, 18:30] > 7.5).astype(float)
RANDOM = np.random.RandomState(0).rand(600, 4) < 0.5
COPIED = np.c_[RANDOM, RANDOM[:, 1], ~RANDOM[:, 2]].astype(float)


def test_links_name_the_columns_that_go_together() -> None:
    frame = pd.DataFrame(COPIED, columns=list("abcdef"))
    machine = BoltzmannMachine(learning="pl", epochs=20, learning_rate=0.5, random_state=0).fit(frame)
    links = {(link.first, link.second): link.coupling for link in machine.links(2)}
    assert links.keys() == {("b", "e"), ("c", "f")}
    assert links["b", "e"] > 0 > links["c", "f"]
    np.testing.assert_allclose(machine.couplings_[[1, 2], [4, 5]], [links["b", "e"], links["c", "f"]])
    np.testing.assert_array_equal(machine.couplings_, machine.couplings_.T)
    holes = pd.DataFrame([[1.0, np.nan, 0, 1, 1, 1]], columns=list("abcdef"))
    assert machine.complete(holes)[0, 1] > 0.8
    assert not hasattr(machine, "transform")


def test_categorical_links_are_strengths_between_variables() -> None:
    values = np.random.RandomState(0).randint(3, size=(500, 3))
    X = np.eye(3)[np.c_[values, values[:, 0]]].reshape(500, 12)
    machine = BoltzmannMachine(visible="categorical", n_values=3, learning="pl", learning_rate=0.5, random_state=0)
    link = machine.fit(X).links(1, corrected=True)[0]
    assert (link.first, link.second, link.coupling) == ("variable 0", "variable 3", None)
    assert machine.couplings_.shape == (4, 4)


def test_scores_are_exact_and_of_bits_where_columns_were_cut() -> None:
    real = np.random.RandomState(0).randn(300, 5) * 10
    real[:, 4] = real[:, 0] + 0.1
    machine = BoltzmannMachine(epochs=10, learning_rate=0.2, random_state=0).fit(real)
    np.testing.assert_allclose(machine.threshold_, real.mean(0))
    np.testing.assert_allclose(machine.score_samples(real), machine.score_samples(real + 1e-9), rtol=1e-5)
    assert machine.log_likelihood(real).kind == "exact"
    bits = np.array(np.meshgrid(*[[0.0, 1.0]] * 5)).reshape(5, -1).T
    cut = np.where(bits > 0, real.max(0), real.min(0))
    np.testing.assert_allclose(np.exp(machine.score_samples(cut)).sum(), 1.0, rtol=1e-5)
    assert set(np.unique(machine.sample(20, n_steps=20))) <= {0.0, 1.0}


@pytest.mark.parametrize(("graph", "shape", "n_edges"), [("full", None, 66), ("grid", (3, 4), 17), ([(0, 1)], None, 1)])
@pytest.mark.parametrize("n_components", [0, 3])
def test_graphs(graph: object, shape: object, n_edges: int, n_components: int) -> None:
    machine = BoltzmannMachine(n_components, graph=graph, grid_shape=shape, epochs=1, random_state=0).fit(BITS)
    assert len(machine.module_.graph.edges) == n_edges + n_components * 12 + n_components * (n_components - 1) // 2
    assert len(machine.links()) == n_edges
    assert machine.log_z_.value == exact_log_z(machine.module_).value
    if n_components:
        assert machine.transform(BITS).shape == (200, 3)


def test_resumed_is_never_stopped(tmp_path: Path) -> None:
    whole = BoltzmannMachine(2, epochs=4, random_state=0, schedule="constant").fit(BITS)
    part = BoltzmannMachine(2, epochs=2, random_state=0, schedule="constant", checkpoint_dir=tmp_path).fit(BITS)
    resumed = part.set_params(epochs=4).fit(BITS, resume_from=tmp_path)
    np.testing.assert_array_equal(resumed.score_samples(BITS), whole.score_samples(BITS))


def test_wrong_arguments_get_a_sentence() -> None:
    for options, sentence in [
        ({"visible": "gaussian"}, "visible must be one of"),
        ({"learning": "score"}, "learning must be one of"),
        ({"graph": "gird"}, "Did you mean 'grid'"),
        ({"graph": "grid"}, "grid_shape must be given"),
        ({"graph": "grid", "grid_shape": (3, 3)}, "graph must have 12 sites"),
        ({"n_components": -1}, "n_components must be at least 0"),
        ({"learning": "pl", "n_components": 2}, "needs a machine without hidden units"),
    ]:
        with pytest.raises(InvalidArgumentError, match=sentence):
            BoltzmannMachine(**options).fit(BITS)
