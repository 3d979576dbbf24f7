"""The classification RBM against the enumerated joint law of x, y and h."""

import pytest
import torch
from torch import Tensor

from deepbelief.data.sets import load_set
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.errors import InvalidDataError
from deepbelief.storage import load_model, save_model
from deepbelief.types import Clamp
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import tiny_classifier, tiny_units

KINDS = [("bernoulli", "bernoulli"), ("gaussian", "spin"), ("categorical", "categorical"), ("bernoulli", "gaussian")]
every_kind = pytest.mark.parametrize(("visible", "hidden"), KINDS)


def some_x(model: ClassificationRBM, n: int, generator: torch.Generator) -> Tensor:
    return model.visible.sample(torch.zeros(n, model.n_features, dtype=torch.float64), generator)


def exact_log_joint(model: ClassificationRBM, x: Tensor) -> Tensor:
    """log p(x, y) of every label, by enumeration: (n, n_classes)."""
    joint, eye = Joint.of(model.rbm), torch.eye(model.n_classes, dtype=torch.float64)
    rows = [[joint.given_visible(torch.cat([row, y])).log_z for y in eye] for row in x]
    return torch.stack([torch.stack(row) for row in rows]) - joint.log_z


def posterior_gap(model: ClassificationRBM, x: Tensor) -> float:
    wanted = torch.log_softmax(exact_log_joint(model, x), 1)
    return (model.log_posterior(x) - wanted).abs().max().item()


@every_kind
def test_posterior_and_likelihoods_are_the_enumerated_ones(
    visible: str, hidden: str, generator: torch.Generator
) -> None:
    model = tiny_classifier(visible, hidden, generator)
    x = some_x(model, 5, generator)
    wanted = exact_log_joint(model, x)
    assert posterior_gap(model, x) < 1e-9
    torch.testing.assert_close(model.classify(x), torch.softmax(wanted, 1))
    log_z = model.log_z()
    assert log_z.kind == "exact"
    torch.testing.assert_close(model.log_likelihood(x, log_z=log_z).value, wanted.logsumexp(1))
    labels = torch.tensor([0, 1, 2, 1, 0])
    found = model.joint_log_likelihood(x, labels, log_z=log_z)
    torch.testing.assert_close(found.value, wanted.gather(1, labels.unsqueeze(1)).squeeze(1))


def test_a_forgotten_label_bias_is_seen(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_classifier("bernoulli", "bernoulli", generator)
    monkeypatch.setattr(
        ClassificationRBM, "scores_of_inputs", lambda self, inputs: self.hidden.cumulants(inputs).sum(-1)
    )
    assert posterior_gap(model, some_x(model, 5, generator)) > 1e-3


@every_kind
def test_codes_are_the_means_of_h_over_all_labels(visible: str, hidden: str, generator: torch.Generator) -> None:
    model = tiny_classifier(visible, hidden, generator)
    x = some_x(model, 3, generator)
    joint, known = Joint.of(model.rbm), torch.arange(model.rbm.visible.size + model.hidden.size) < model.n_features
    for row, code in zip(x, model.encode(x), strict=True):
        mean, _ = joint.given(torch.cat([row, row.new_zeros(len(known) - len(row))]), known).moments()
        torch.testing.assert_close(code, mean[model.rbm.visible.size :])


@pytest.mark.parametrize("label", [0, 2])
def test_samples_given_a_label_have_its_law(label: int, generator: torch.Generator) -> None:
    model = tiny_classifier("bernoulli", "bernoulli", generator)
    one_hot = torch.nn.functional.one_hot(torch.tensor(label), 3).double()
    values = torch.cat([torch.zeros(3), one_hot, torch.zeros(model.hidden.size)]).double()
    law = Joint.of(model.rbm).given(values, (torch.arange(9) >= 3) & (torch.arange(9) < 6))
    draws = model.sample_joint(20_000, labels=torch.tensor([label]), n_steps=60, generator=generator)
    h = model.rbm.sample_h_from_v(draws, generator)
    assert law.p_value(torch.cat([draws, h], 1)) > FALSE_ALARM
    other = torch.cat([draws[:, :3], one_hot.roll(1).expand(len(draws), -1)], 1)
    assert law.p_value(torch.cat([other, h], 1)) < FALSE_ALARM


def test_completion_is_the_mean_given_what_is_known(generator: torch.Generator) -> None:
    model = tiny_classifier("bernoulli", "bernoulli", generator)
    x, known = torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([True, False, False])
    values = torch.cat([x, torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3)]).double()
    mask = torch.cat([known, torch.tensor([True] * 3 + [False] * 3)])
    wanted, _ = Joint.of(model.rbm).given(values, mask).moments()
    steps = {"n_steps": 60, "n_average": 5, "generator": generator}
    filled = model.complete(x.expand(4000, -1), known, labels=torch.ones(4000).long(), **steps)
    assert torch.equal(filled[:, known], x[known].expand(4000, -1))
    assert means_p_value(filled[:, ~known], wanted[:3][~known]) > FALSE_ALARM
    free = model.complete(x.expand(4000, -1), known, labels=-torch.ones(4000).long(), **steps)
    assert means_p_value(free[:, ~known], wanted[:3][~known]) < FALSE_ALARM  # the label matters


def test_clamped_entries_stay(generator: torch.Generator) -> None:
    model = tiny_classifier("bernoulli", "bernoulli", generator)
    clamp = Clamp(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([True, True, False]))
    rows = model.sample_joint(50, condition=clamp, labels=torch.arange(50) % 4 - 1, n_steps=5, generator=generator)
    assert torch.equal(rows[:, :2], torch.tensor([[1.0, 0.0]]).double().expand(50, -1))
    held = torch.arange(50) % 4 > 0
    assert torch.equal(rows[held, 3:].argmax(1), (torch.arange(50) % 4 - 1)[held])
    assert len(rows[~held, 3:].argmax(1).unique()) > 1


def test_it_is_saved_and_read_back(generator: torch.Generator, tmp_path: object) -> None:
    model = ClassificationRBM(tiny_units("with_gaussian", generator), 4, 3, generator=generator).float()
    x = torch.randn(4, 3, generator=generator)
    found = load_model(save_model(model, f"{tmp_path}/model"))
    assert torch.equal(found.classify(x), model.classify(x))


def test_it_starts_at_the_data() -> None:
    digits = load_set("digits")
    assert digits.y is not None
    model, labels = ClassificationRBM(64, 8, 10), digits.y.clone()
    labels[::2] = -1
    model.match_data(digits.scaled(), labels)
    shares = torch.bincount(labels[1::2], minlength=10) / len(labels[1::2])
    bias = model.rbm.visible.part(1).bias  # type: ignore[operator]
    torch.testing.assert_close(torch.softmax(bias, 0), shares)


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(InvalidDataError, match="labels must lie in"):
        ClassificationRBM(4, 2, 3).joined(torch.zeros(2, 4), torch.tensor([0, 3]))
