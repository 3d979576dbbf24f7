"""Sampling, coding, completing and classifying with DBNs, against enumeration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN, with_labels_in_top
from deepbelief.belief.greedy import tie_to_below
from deepbelief.belief.stack import CHAINS
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.kernels.tempering import sample_tempered
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Coder, Completer, Density, Sampler, Storable
from deepbelief.storage import load_model, save_model
from deepbelief.types import Clamp
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle import stack
from tests.oracle.joint import Joint, find
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.zoo import tiny_dbn

close = torch.testing.assert_close
DISCRETE = ["bernoulli", "three layers", "mixed data", "labels", "labels over three layers", "one layer with labels"]
LABELLED = ["labels", "labels over three layers", "one layer with labels"]


def law_p_value(dbn: DBN, draws: Tensor, log_p: Tensor) -> float:
    """How well draws of the data fit the probabilities of all its states."""
    where = find(stack.states_of(dbn.visible), draws)
    assert (where >= 0).all()
    return counts_p_value(torch.bincount(where, minlength=len(log_p)), log_p.exp())


@pytest.mark.parametrize("method", CHAINS)
@pytest.mark.parametrize("dbn", DISCRETE, indirect=True)
def test_samples_have_the_law(dbn: DBN, method: Any, generator: torch.Generator) -> None:
    draws = dbn.sample(10_000, n_steps=30, method=method, generator=generator)
    assert law_p_value(dbn, draws, stack.log_likelihood(dbn, stack.states_of(dbn.visible))) > FALSE_ALARM


@pytest.mark.parametrize("method", CHAINS)
@pytest.mark.parametrize("dbn", LABELLED, indirect=True)
def test_samples_of_a_label_have_the_law_given_the_label(dbn: DBN, method: Any, generator: torch.Generator) -> None:
    given = torch.log_softmax(stack.log_joint(dbn, stack.states_of(dbn.visible)), 0)
    for label in range(dbn.n_classes or 0):
        draws = dbn.sample(5000, labels=torch.tensor([label]), n_steps=30, method=method, generator=generator)
        assert law_p_value(dbn, draws, given[:, label]) > FALSE_ALARM


@pytest.mark.parametrize("mean", [False, True])
def test_a_tempered_top_draws_what_tempering_draws(mean: bool, generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "bernoulli"], None, generator)
    options: dict[str, Any] = {"n_steps": 6, "mean": mean, "generator": generator}
    draws = dbn.sample(20, method="pt", **(options | {"generator": generator.manual_seed(1)}))
    assert torch.equal(draws, sample_tempered(dbn.top, 20, **(options | {"generator": generator.manual_seed(1)})))


def test_each_chain_may_have_its_own_label(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "bernoulli", "bernoulli"], 3, generator)
    labels = torch.arange(3).repeat_interleave(4000)
    draws = dbn.sample(12_000, labels=labels, n_steps=30, generator=generator)
    given = torch.log_softmax(stack.log_joint(dbn, stack.states_of(dbn.visible)), 0)
    for label in range(3):
        assert law_p_value(dbn, draws[labels == label], given[:, label]) > FALSE_ALARM


def test_a_clamped_label_keeps_the_law_of_the_top(generator: torch.Generator) -> None:
    """Chains that start exactly at p(h, top | y) have it after a step of the clamped top RBM."""
    dbn = tiny_dbn(["spin", "bernoulli", "bernoulli"], 3, generator)
    clamp = dbn._label_clamp(torch.tensor([1]), 1)
    joint = Joint.of(dbn.top)
    none = torch.zeros(dbn.top.hidden.size)
    given = joint.given(torch.cat([clamp.values[0], none.double()]), torch.cat([clamp.known, none.bool()]))
    kernel = BlockGibbs(dbn.top)
    state = kernel.start_at(given.halves(given.draw(10_000, generator))[0], generator=generator)
    state, _ = kernel.step(state, clamp=clamp, generator=generator)
    assert given.p_value(torch.cat([state.v, state.h], 1)) > FALSE_ALARM


def test_mean_samples_average_to_the_mean_of_the_law(dbn: DBN, generator: torch.Generator) -> None:
    draws = dbn.sample(4000, n_steps=30, mean=True, generator=generator)
    binary = dbn.sample(4000, n_steps=30, generator=generator)
    assert draws.shape == binary.shape == (4000, dbn.visible.size)
    if dbn.visible.bases is not None:
        states = stack.states_of(dbn.visible)
        assert means_p_value(draws, stack.log_likelihood(dbn, states).exp() @ states) > FALSE_ALARM


def test_coding_is_a_pass_of_means(dbn: DBN, x: Tensor) -> None:
    h = x
    for rbm in dbn.layers[:-1]:
        h = rbm.mean_h_from_v(h)
    if not dbn.n_classes:
        code = dbn.top.mean_h_from_v(h)
        close(dbn.encode(x), code, rtol=0, atol=0)
        for rbm in reversed(dbn.layers):
            code = rbm.mean_v_from_h(code)
        close(dbn.reconstruct(x), code, rtol=0, atol=0)
    assert dbn.encode(x).shape == (len(x), dbn.top.hidden.size)
    assert dbn.decode(dbn.encode(x)).shape == x.shape
    dbn.visible.check_values(dbn.reconstruct(x))


def test_upward_draws_average_to_the_posterior_of_each_layer(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["spin", "bernoulli", "bernoulli", "bernoulli"], None, generator)
    row = torch.tensor([[1.0, -1.0, 1.0]]).double()
    up = (
        stack.log_up(dbn.layers[0], row).exp()
        @ stack.log_up(dbn.layers[1], stack.states_of(dbn.layers[1].visible)).exp()
    )
    draws = dbn.upward(row.expand(5000, -1), sample=True, generator=generator)
    counts = torch.bincount(find(stack.states_of(dbn.layers[1].hidden), draws), minlength=up.shape[1])
    assert counts_p_value(counts, up[0]) > FALSE_ALARM


def test_one_layer_classifies_by_the_exact_posterior(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["spin", "bernoulli"], 3, generator)
    x = stack.states_of(dbn.visible)
    close(dbn.classify(x), torch.softmax(stack.log_joint(dbn, x), 1))


@pytest.mark.parametrize("dbn", LABELLED, indirect=True)
def test_the_label_posterior_of_the_top_is_enumeration(dbn: DBN) -> None:
    h = stack.states_of(dbn.top.visible.part(0))  # type: ignore[operator]
    table = stack.log_top(dbn, h)
    close(torch.log_softmax(-dbn.label_free_energies(h), 1), torch.log_softmax(table, 1))
    close(torch.log_softmax(-dbn.top_free_energy(h), 0), torch.logsumexp(table, 1))


def test_a_missing_label_enters_the_code_by_its_posterior(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "bernoulli"], 3, generator)
    x = stack.states_of(dbn.visible)
    close(dbn.encode(x), dbn.top.mean_h_from_v(torch.cat([x, dbn.classify(x)], 1)))


def test_one_layer_completes_as_its_rbm_draw_for_draw(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "spin"], None, generator)
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]).double()
    known = torch.tensor([[True, False, False], [False, True, True]])
    pair = [model.complete(x, known, generator=torch.Generator().manual_seed(3)) for model in (dbn, dbn.top)]
    close(pair[0], pair[1], rtol=0, atol=0)


def test_completion_keeps_what_is_known_and_reads_nothing_else(dbn: DBN, x: Tensor, generator: torch.Generator) -> None:
    known = (torch.rand(len(x), 1, generator=generator) < 0.5).expand_as(x)
    seed = generator.initial_seed()
    filled = [
        dbn.complete(
            torch.where(known, x, hidden), known, n_steps=5, n_average=2, generator=torch.Generator().manual_seed(seed)
        )
        for hidden in (0.0, float("nan"))
    ]
    close(filled[0], filled[1], rtol=0, atol=0)
    assert torch.equal(filled[0][known], x[known])
    draws = dbn.sample(len(x), condition=Clamp(x, known), n_steps=3, generator=generator)
    assert torch.equal(draws[known], x[known])
    dbn.visible.check_values(draws)


def test_a_tied_stack_completes_like_its_rbm(generator: torch.Generator) -> None:
    """With the transpose on top, the way up is the true posterior, so the stack's chain is exact."""
    below = tiny_dbn(["bernoulli", "bernoulli"], None, generator).top
    top = RBM(3, 3, weight_std=0.0).double()
    tie_to_below(top, below)
    known = torch.tensor([True, False, False])
    row = torch.tensor([1.0, 0.0, 0.0]).double()
    filled = DBN([below, top]).complete(
        row.expand(3000, -1), known.expand(3000, -1), n_steps=25, n_average=1, generator=generator
    )
    none = torch.zeros(3)
    mean = Joint.of(below).given(torch.cat([row, none.double()]), torch.cat([known, none.bool()])).moments()[0][:3]
    assert means_p_value(filled, mean) > FALSE_ALARM


def test_labels_and_a_condition_do_not_go_together(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "bernoulli"], 3, generator)
    clamp = Clamp(torch.zeros(3).double(), torch.tensor([True, False, False]))
    with pytest.raises(InvalidArgumentError, match=r"labels and condition"):
        dbn.sample(2, labels=torch.tensor([1]), condition=clamp, n_steps=2)


def test_saving_and_loading_keeps_every_bit(dbn: DBN, x: Tensor, tmp_path: Any) -> None:
    twin = load_model(save_model(dbn, tmp_path / "model"))
    assert twin.config() == dbn.config()
    assert {k: v.tolist() for k, v in twin.state_dict().items()} == {k: v.tolist() for k, v in dbn.state_dict().items()}
    close(twin.encode(x), dbn.encode(x), rtol=0, atol=0)


def test_single_precision_agrees_with_double(dbn: DBN, x: Tensor) -> None:
    double = [dbn.encode(x), dbn.reconstruct(x), dbn.top_free_energy(dbn.upward(x))]
    dbn.float()
    x = x.float()
    single = [dbn.encode(x), dbn.reconstruct(x), dbn.top_free_energy(dbn.upward(x))]
    close(single, [value.float() for value in double])


def test_it_has_its_capabilities(dbn: DBN) -> None:
    for capability in (Sampler, Density, Coder, Completer, Storable):
        assert isinstance(dbn, capability)


def test_layers_of_units_do_not_share_parameters() -> None:
    layers = [Bernoulli(4), Bernoulli(3), Bernoulli(2)]
    own = {parameter.data_ptr() for parameter in DBN.of_units(layers).parameters()}
    assert len(own) == 6
    assert own.isdisjoint(units.bias.data_ptr() for units in layers)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: DBN([]), r"at least 1 RBM"),
        (lambda: DBN.of_sizes([3]), r"at least 1 layer. Got sizes=\[3\]"),
        (lambda: DBN([RBM(4, 3), RBM(2, 2)]), r"layer 2 must have 3 visible units, the hidden units of layer 1. Got 2"),
        (lambda: DBN([RBM(4, 3), RBM(3, 2)], 10), r"13 visible units.* and the label. Got 3"),
        (lambda: DBN.of_sizes([3, 2]).sample(2, labels=torch.tensor([1])), r"labels must sit in the top RBM"),
        (
            lambda: DBN.of_sizes([3, 2], 2).sample(2, labels=torch.tensor([2])),
            r"labels must be at most 1. Got labels=2",
        ),
        (lambda: DBN.of_sizes([3, 2], 2).sample(2, labels=torch.tensor([-1])), r"labels must be at least 0"),
        (lambda: DBN.of_sizes([3, 2]).classify(torch.zeros(1, 3)), r"labels must sit in the top RBM"),
        (lambda: DBN.of_sizes([3, 2]).sample(0), r"n must be at least 1. Got n=0"),
        (lambda: DBN.of_sizes([3, 2]).sample(1, n_steps=0), r"n_steps must be at least 1"),
        (lambda: DBN.of_sizes([3, 2]).sample(1, method="tp"), r"method must be one of 'gibbs', 'pt'"),  # type: ignore[arg-type]
        (
            lambda: DBN.of_sizes([3, 2]).sample(1, condition=Clamp(torch.zeros(3), torch.ones(3) > 0), method="pt"),
            r'method must be "gibbs" with a condition',
        ),
    ],
)
def test_wrong_arguments_get_a_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        call()


@pytest.mark.parametrize("dbn", ["bernoulli", "three layers", "mixed data", "one layer"], indirect=True)
def test_new_labels_change_nothing_at_first(dbn: DBN, x: Tensor) -> None:
    twin = with_labels_in_top(dbn, 3)
    close(stack.log_likelihood(twin, x), stack.log_likelihood(dbn, x))
    close(twin.classify(x), torch.full((len(x), 3), 1 / 3).double())
    close(twin.upward(x), dbn.upward(x))
    assert twin.top.visible_offset[-3:].tolist() == [pytest.approx(1 / 3)] * 3
    with torch.no_grad():
        twin.top.weight.add_(1.0)
    assert not torch.allclose(stack.log_likelihood(twin, x), stack.log_likelihood(dbn, x))  # a copy, which may learn
    with pytest.raises(InvalidArgumentError, match=r"dbn must have no labels yet\. Got n_classes=3"):
        with_labels_in_top(twin, 2)
