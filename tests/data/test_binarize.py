"""The four binarizations are what they say."""

import pytest
import torch
from scipy.stats import binomtest

from deepbelief.data.binarize import check_unit_interval, make_binarizer
from deepbelief.data.source import make_source
from deepbelief.errors import InvalidArgumentError, InvalidDataError

GREY = torch.tensor([[0, 51, 127, 128, 204, 255]], dtype=torch.uint8).repeat(5000, 1)
FALSE_ALARM = 1e-6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_none_changes_nothing():
    kept, scale = make_binarizer("none").prepare(GREY, 1 / 255)
    assert kept is GREY
    assert scale == 1 / 255
    assert make_binarizer("none").transform is None


def test_threshold_cuts_between_127_and_128():
    bits, scale = make_binarizer("threshold").prepare(GREY, 1 / 255)
    assert bits[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert (bits.dtype, scale) == (torch.uint8, None)
    assert make_binarizer("threshold", 0.9).prepare(GREY, 1 / 255)[0][0].tolist() == [0, 0, 0, 0, 0, 1]


def test_fixed_is_one_draw_that_its_seed_determines():
    bits, scale = make_binarizer("fixed", seed=3).prepare(GREY, 1 / 255)
    assert (bits.dtype, scale) == (torch.uint8, None)
    assert torch.equal(bits, make_binarizer("fixed", seed=3).prepare(GREY, 1 / 255)[0])
    assert not torch.equal(bits, make_binarizer("fixed", seed=4).prepare(GREY, 1 / 255)[0])
    assert_bits_have_the_law_of_grey(bits)


def test_stochastic_draws_anew_for_every_batch():
    source = make_source(GREY, binarizer=make_binarizer("stochastic"), scale=1 / 255, batch_size=5000, shuffle=False)
    steps = generator()
    first, second = (next(source.batches(epoch, generator=steps)).x for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert_bits_have_the_law_of_grey(first)
    assert torch.equal(first, next(source.batches(0, generator=generator())).x)


def assert_bits_have_the_law_of_grey(bits):
    assert set(bits.unique().tolist()) == {0, 1}
    for column, level in enumerate(GREY[0].tolist()):
        ones = int(bits[:, column].sum())
        assert binomtest(ones, len(bits), level / 255).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", ["threshold", "fixed"])
def test_inverted_bits_are_the_same_cases_in_negative(name):
    plain, _ = make_binarizer(name).prepare(GREY, 1 / 255)
    negative, _ = make_binarizer(name, inverted=True).prepare(GREY, 1 / 255)
    assert torch.equal(negative, 1 - plain)


@pytest.mark.parametrize("name", ["none", "threshold", "stochastic"])
def test_inverted_streams_are_the_same_cases_in_negative(name):
    x = GREY / 255
    plain, negative = make_binarizer(name), make_binarizer(name, inverted=True)
    torch.testing.assert_close(negative.apply(x, generator()), 1 - plain.apply(x, generator()))
    torch.testing.assert_close(negative.streaming_transform(x, generator()), 1 - plain.apply(x, generator()))


@pytest.mark.parametrize("name", ["threshold", "fixed", "stochastic"])
@pytest.mark.parametrize("value", [17.0, -0.5])
def test_values_outside_the_range_get_the_sentence(name, value):
    x = torch.tensor([[0.5, value]])
    with pytest.raises(InvalidDataError, match=f"Got {value:g}: scale to \\[0, 1\\] or use Gaussian units"):
        make_binarizer(name).prepare(x)


def test_the_sentence_comes_while_streaming_too():
    with pytest.raises(InvalidDataError, match="Gaussian units"):
        make_binarizer("stochastic").streaming_transform(torch.tensor([[17.0]]), generator())


def test_full_white_is_in_range_in_spite_of_rounding():
    for levels in range(1, 300):
        check_unit_interval(torch.tensor([float(levels)]), 1 / levels)


def test_fixed_refuses_streams():
    with pytest.raises(InvalidDataError, match="must see all data at once"):
        _ = make_binarizer("fixed").streaming_transform


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InvalidArgumentError, match="Did you mean 'stochastic'"):
        make_binarizer("stochastik")
