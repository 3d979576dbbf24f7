"""Learning from ratings: gradients against hand-written enumeration, what is not rated is not touched, resume."""

from typing import Any

import pytest
import torch
from scipy import sparse
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.gradients import ratings as rule
from deepbelief.energy.gradients.ratings import RatingsLearning
from deepbelief.energy.ratings_rbm import RatingsRBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.rng import make_generator
from deepbelief.training.callbacks import Callback
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from deepbelief.units.gaussian import Gaussian
from tests.energy.test_ratings_rbm import N_COLUMNS, RATINGS, conditional_by_hand, some_codes, tiny_ratings
from tests.oracle.checks import largest_gap, make_context
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value


def gradient_of(model: RatingsRBM, codes: Tensor, generator: torch.Generator, **options: object) -> dict[str, Tensor]:
    """The ascent direction of one step of length zero."""
    RatingsLearning(model, **{"learning_rate": 0.0, **options}).step(Batch(codes), make_context(generator))  # type: ignore[arg-type]
    return {name: -value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def pseudo_likelihood_gap(model: RatingsRBM, codes: Tensor, generator: torch.Generator) -> float:
    terms = [
        conditional_by_hand(model, row, column)[int(row[column]) - 1]
        for row in codes
        for column in range(N_COLUMNS)
        if row[column] > 0
    ]
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    values = [model.get_parameter(name) for name in names]
    wanted = torch.autograd.grad(torch.stack(terms).sum() / len(codes), values)
    return largest_gap(gradient_of(model, codes, generator), dict(zip(names, wanted, strict=True)))


@pytest.mark.parametrize(
    ("setting", "chunk"), [(("free", "bernoulli", None, True), 1 << 22), (("quadratic", "spin", 3.0, True), 20)]
)
def test_pseudo_likelihood_gradient_is_that_of_the_enumeration(
    setting: tuple, chunk: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "CHUNK", chunk)
    model = tiny_ratings(*setting, generator)
    assert pseudo_likelihood_gap(model, some_codes(generator, 3), generator) < 1e-9


def test_a_rating_that_sees_itself_is_noticed(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_ratings("linear", "bernoulli", 3.0, True, generator)
    plain = RatingsRBM.log_conditional_of

    def leak(self: RatingsRBM, entries: object, sums: Tensor, rows: Tensor, columns: Tensor, code: Tensor) -> Tensor:
        own = self.contributions(columns, code.clamp_min(1) - 1)
        sums = sums.index_add(0, rows, own) - sums.detach() * 0
        return plain(self, entries, sums, rows, columns, code)  # type: ignore[arg-type]

    monkeypatch.setattr(RatingsRBM, "log_conditional_of", leak)
    assert pseudo_likelihood_gap(model, some_codes(generator, 3), generator) > 1e-3


@pytest.mark.parametrize("learning", ["cd", "pseudo_likelihood"])
def test_a_row_without_weight_is_as_good_as_none(learning: str, generator: torch.Generator) -> None:
    model, codes = tiny_ratings("free", "bernoulli", None, True, generator), some_codes(generator, 3)
    whole, part = Batch(codes, weight=torch.tensor([2.0, 2.0, 0.0])), Batch(codes[:2])
    steps, watched = [], []
    for batch in (whole, part):
        rule = RatingsLearning(model, learning, learning_rate=0.0)  # type: ignore[arg-type]
        watched.append(dict(rule.step(batch, make_context(make_generator(1)))))
        steps.append({name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None})
    if learning == "pseudo_likelihood":  # the other rule draws, and so not the same for two rows and for three
        assert largest_gap(*steps) < 1e-9
        torch.testing.assert_close(*watched)
    else:
        codes[2, 0] = codes[2, 0] % 3 + 1
        RatingsLearning(model, "cd", learning_rate=0.0).step(whole, make_context(make_generator(1)))
        again = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        assert largest_gap(steps[0], again) < 1e-9


@pytest.mark.parametrize("learning", ["cd", "pseudo_likelihood"])
def test_columns_that_nobody_rated_get_gradients_of_exactly_zero(learning: str, generator: torch.Generator) -> None:
    model, codes = tiny_ratings("free", "bernoulli", None, True, generator), some_codes(generator)
    codes[:, 3] = 0
    found = gradient_of(model, codes, generator, learning=learning)
    for name in ("weight", "rated", "column_bias"):
        assert not found[name][3].any()
        assert found[name][0].any()


@pytest.mark.parametrize("planted", [False, True])
def test_contrastive_divergence_stands_still_at_the_law_of_the_model(planted: bool, generator: torch.Generator) -> None:
    model = tiny_ratings("linear", "bernoulli", 3.0, True, generator)
    columns = torch.tensor([0, 1, 3])
    joint = Joint.of(model.rbm_of(columns))
    gradients = []
    for _ in range(80):
        v, _ = joint.halves(joint.draw(60, generator))
        codes = torch.zeros(60, N_COLUMNS).double()
        codes[:, columns] = v.view(60, 3, 3).argmax(2).double() + 1
        if planted:  # data of another law
            codes[:, 0] = torch.where(codes[:, 0] == 1, 3.0, codes[:, 0])
        found = gradient_of(model, codes, generator, learning="cd", k=2)
        gradients.append(torch.cat([value.flatten() for value in found.values()]))
    assert (means_p_value(torch.stack(gradients), 0.0) > FALSE_ALARM) != planted


def test_decay_is_measured_against_the_gradient_of_a_row(generator: torch.Generator) -> None:
    model, codes = tiny_ratings("linear", "gaussian", 3.0, True, generator), some_codes(generator)
    plain = gradient_of(model, codes, generator)
    decayed = gradient_of(model, codes, generator, l2=0.3, bias_l2=0.2)
    torch.testing.assert_close(plain["weight"] - decayed["weight"], 0.3 * model.weight.detach())
    torch.testing.assert_close(plain["rated"] - decayed["rated"], 0.3 * model.rated.detach())  # type: ignore[union-attr]
    torch.testing.assert_close(plain["column_bias"] - decayed["column_bias"], 0.2 * model.column_bias.detach())
    assert "hidden.log_precision" not in plain


@pytest.mark.parametrize("learning", ["cd", "pseudo_likelihood"])
def test_resumed_training_equals_one_that_never_stopped(
    learning: str, generator: torch.Generator, tmp_path: object
) -> None:
    codes = sparse.csr_array(some_codes(generator, 60).numpy())
    source = make_source(codes, batch_size=16)

    def train(epochs: list[int]) -> dict[str, Tensor]:
        for n in epochs:
            model = RatingsRBM(N_COLUMNS, Gaussian(3), RATINGS, generator=make_generator(0))
            procedure = RatingsLearning(model, learning, k=(1, 3))  # type: ignore[arg-type]
            folder = f"{tmp_path}/{len(epochs)}"
            trainer = Trainer(max_steps=16, checkpoint_dir=folder, progress=False)
            if n < 4:
                trainer.callbacks = [StopAfter(n)]
            trainer.fit(procedure, source, resume_from=folder if n > epochs[0] else None)
        return dict(model.state_dict())

    whole, parts = train([4]), train([2, 4])
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


class StopAfter(Callback):
    """Asks the trainer to stop after so many epochs, so that schedules see the same plan."""

    def __init__(self, n: int) -> None:
        self.n = n

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        if trainer.epoch >= self.n:
            trainer.request_stop("enough")


def test_wrong_settings_are_refused() -> None:
    model = RatingsRBM(3, 2, RATINGS)
    with pytest.raises(InvalidArgumentError, match="k must not fall"):
        RatingsLearning(model, "cd", k=(3, 1))
    with pytest.raises(InvalidArgumentError, match="k must be at least 1"):
        RatingsLearning(model, "cd", k=(0, 1))
    with pytest.raises(InvalidArgumentError, match="learning must be one of"):
        RatingsLearning(model, "pcd")  # type: ignore[arg-type]
