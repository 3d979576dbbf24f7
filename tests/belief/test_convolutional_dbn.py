"""A stack of convolutional RBMs: its way down keeps the law of each layer given the pooling units above."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepbelief.belief.convolutional_dbn import ConvolutionalDBN, train_convolutional
from deepbelief.data.source import make_source
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.errors import InvalidArgumentError
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model
from deepbelief.types import Clamp
from tests.oracle.convolution import tiny_convolution, twin
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value

close = torch.testing.assert_close


def small(generator: torch.Generator | None = None) -> ConvolutionalDBN:
    below = ConvolutionalRBM((1, 8, 8), 3, 3, pool=2, weight_std=0.3, generator=generator)
    above = ConvolutionalRBM(below.pooled_shape, 4, 2, pool=2, weight_std=0.3, generator=generator)
    return ConvolutionalDBN([below, above])


@pytest.mark.parametrize("steps", [1, 3])
def test_pictures_given_the_pooling_units_have_their_law(steps: int, generator: torch.Generator) -> None:
    """Long chains with the blocks held reach p(v | a) of the enumerated machine; too short ones do not."""
    rbm = tiny_convolution("one block", generator, scale=1.5)
    joint, n = Joint.of(twin(rbm)), rbm.visible.size
    v, h = joint.states[:, :n], joint.states[:, n:]
    wanted_pool = torch.tensor([1.0, 0.0]).double()
    fits = (rbm.hidden.pool(h) == wanted_pool).all(1)
    patterns, place = torch.unique(v, dim=0, return_inverse=True)
    law = torch.zeros(len(patterns)).double().index_add(0, place[fits], joint.probabilities[fits])
    law = law / law.sum()
    drawn, mean = rbm.sample_given_pool(wanted_pool.expand(20_000, 2), n_steps=30 * steps - 29, generator=generator)
    codes = (drawn * 2 ** torch.arange(n).double()).sum(1)
    order = {code: i for i, code in enumerate((patterns * 2 ** torch.arange(n).double()).sum(1).tolist())}
    counts = torch.bincount(torch.tensor([order[code] for code in codes.tolist()]), minlength=len(patterns))
    p = counts_p_value(counts, law)
    assert mean.shape == drawn.shape
    assert p > FALSE_ALARM if steps == 3 else p < FALSE_ALARM


def test_codes_and_features(generator: torch.Generator) -> None:
    dbn, x = small(generator), torch.rand(5, 64, generator=generator)
    below, top = dbn.layers
    close(dbn.encode(x), top.encode(below.encode(x)))
    close(dbn.features(x), torch.cat([below.encode(x), dbn.encode(x)], 1))
    assert dbn.decode(dbn.encode(x)).shape == x.shape
    drawn = dbn.upward(x, n_layers=1, sample=True, generator=generator)
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(dbn.upward(x, n_layers=0), x)


def test_it_samples_and_completes(generator: torch.Generator) -> None:
    dbn, known = small(generator), torch.arange(64) < 32
    x = torch.randint(0, 2, (3, 64), generator=generator).float()
    assert set(dbn.sample(4, n_steps=3, generator=generator).unique().tolist()) <= {0.0, 1.0}
    means = dbn.sample(4, n_steps=3, mean=True, generator=generator)
    assert ((means > 0) & (means < 1)).all()
    filled = dbn.complete(x, known, n_steps=5, n_average=2, generator=generator)
    drawn = dbn.sample(3, condition=Clamp(x, known), n_steps=3, generator=generator)
    for found in (filled, drawn):
        assert torch.equal(found[:, :32], x[:, :32])
    assert ((filled[:, 32:] > 0) & (filled[:, 32:] < 1)).all()


def test_one_layer_completes_as_its_rbm_does() -> None:
    rbm = ConvolutionalRBM((6, 6), 2, 3, weight_std=0.5, generator=make_generator(0))
    x, known = torch.ones(2, 36), torch.arange(36) < 18
    found = ConvolutionalDBN([rbm]).complete(x, known, n_steps=6, n_average=3, generator=make_generator(1))
    assert torch.equal(found[:, :18], x[:, :18])
    assert found.shape == rbm.complete(x, known, n_steps=6, n_average=3, generator=make_generator(1)).shape


def test_layers_learn_in_turn_and_resume_bit_for_bit(tmp_path: Path) -> None:
    x = torch.randint(0, 2, (40, 64), generator=make_generator(1)).float()

    def trained(epochs: int, folder: Path | None, resume: bool = False) -> ConvolutionalDBN:
        dbn = small(make_generator(0))
        plan = LearningSettings(learning="pcd", epochs=epochs, n_chains=10, learning_rate=0.5, schedule="constant")
        options = {"progress": False}
        source = make_source(x, batch_size=10)
        train_convolutional(dbn, source, plan, trainer_options=options, checkpoint_dir=folder, resume=resume)
        return dbn

    first, whole = small(make_generator(0)), trained(3, tmp_path / "a")
    for before, after in zip(first.layers, whole.layers, strict=True):
        assert (before.filters - after.filters).abs().max() > 1e-4
    again = trained(3, tmp_path / "a", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    dbn = small(make_generator(0))
    loaded, x = load_model(save_model(dbn, tmp_path / "m")), torch.rand(3, 64)
    close(loaded.encode(x), dbn.encode(x))


def test_layers_that_do_not_fit_get_a_sentence() -> None:
    below = ConvolutionalRBM((1, 8, 8), 3, 3, pool=2)
    with pytest.raises(InvalidArgumentError, match=r"layer 2 must have the image_shape \(3, 3, 3\)"):
        ConvolutionalDBN([below, ConvolutionalRBM((1, 3, 3), 4, 2)])
    source = make_source(torch.rand(4, 64), batch_size=2)
    with pytest.raises(InvalidArgumentError, match="learning must be one of 'cd', 'pcd', 'pt'"):
        train_convolutional(small(), source, LearningSettings(learning="pl"))
    with pytest.raises(InvalidArgumentError, match="group_size must be None for learning filters"):
        train_convolutional(small(), source, LearningSettings(group_size=2))


def test_decay_reaches_the_filters_of_every_layer() -> None:
    x, sizes = torch.rand(20, 64, generator=make_generator(3)).round(), []
    for l1 in (0.0, 5.0):
        dbn, plan = small(make_generator(0)), LearningSettings(learning="cd", epochs=2, l1=l1, learning_rate=0.01)
        train_convolutional(dbn, make_source(x, batch_size=10), plan, trainer_options={"progress": False})
        sizes.append([layer.filters.abs().mean().item() for layer in dbn.layers])
    assert all(pulled < plain for plain, pulled in zip(*sizes, strict=True))
