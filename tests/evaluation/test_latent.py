"""Walks and arithmetic of codes: geometry that must hold exactly, linear models where all is known, and pictures."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.dbn import DBN
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.energy.rbm import RBM
from deepbelief.errors import DeepBeliefError
from deepbelief.evaluation.latent import (
    PixelSpace,
    add_attribute,
    analogy,
    attribute_vector,
    beside_pixels,
    cross_fade,
    interpolate,
    spherical,
    straight,
    traverse,
)
from deepbelief.protocols import Coder
from deepbelief.report.tiles import png_of_tiles
from deepbelief.units.bernoulli import Bernoulli

close = torch.testing.assert_close
T = torch.linspace(0, 1, 7, dtype=torch.float64)


class Rotation:
    """A linear coder whose every operation is that of pixels, turned there and back."""

    def __init__(self, d: int, generator: torch.Generator) -> None:
        self.q = torch.linalg.qr(torch.randn(d, d, generator=generator).double()).Q

    def encode(self, x: Tensor) -> Tensor:
        return x @ self.q

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.q.T


def rows(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=generator).double()


def test_an_arc_keeps_length_and_speed_and_reaches_both_ends(generator: torch.Generator) -> None:
    a, b = (z / z.norm(dim=1, keepdim=True) for z in (rows(5, 4, generator), rows(5, 4, generator)))
    arc = spherical(a, b, T)
    close(arc.norm(dim=-1), torch.ones(7, 5).double())
    close(arc[0], a)
    close(arc[-1], b)
    angles = torch.acos((arc[1:] * arc[:-1]).sum(-1).clamp(-1, 1))
    close(angles, (torch.acos((a * b).sum(1)) / 6).expand(6, 5))
    line = straight(a, b, T)
    assert (line[3].norm(dim=-1) < arc[3].norm(dim=-1)).all()  # the line crosses the inside


def test_an_arc_of_unequal_lengths_reaches_both_ends_and_of_parallel_codes_is_the_line(
    generator: torch.Generator,
) -> None:
    a, b = rows(5, 4, generator), 3 * rows(5, 4, generator)
    close(spherical(a, b, T)[[0, -1]], torch.stack([a, b]))
    close(spherical(a, 2 * a, T), straight(a, 2 * a, T))
    near = a + 1e-9 * b
    close(spherical(a, near, T), straight(a, near, T), rtol=0, atol=1e-8)
    for other, sentence in ((-a, "must not be opposite"), (0 * a, "must have a direction")):
        with pytest.raises(DeepBeliefError, match=sentence):
            spherical(a, other, T)


@pytest.mark.parametrize("path", ["straight", "spherical"])
def test_a_rotation_changes_nothing(path: str, generator: torch.Generator) -> None:
    turned, x, y = Rotation(4, generator), rows(6, 4, generator), rows(6, 4, generator)
    assert isinstance(turned, Coder)
    assert isinstance(PixelSpace(), Coder)
    ours, pixels = beside_pixels(interpolate, turned, x, y, 5, path=path)
    close(ours, pixels)
    close(ours[:, 0], x)
    close(ours[:, -1], y)
    has = torch.tensor([True, False, True, False, False, True])
    mine, plain = attribute_vector(turned, x, has), attribute_vector(PixelSpace(), x, has)
    close(mine @ turned.q.T, plain)
    close(plain, x[has].mean(0) - x[~has].mean(0))
    close(add_attribute(turned, x, mine, [0.0, 1.5]), torch.stack([x, x + 1.5 * plain], 1))
    close(analogy(turned, x, y, x), y)
    close(analogy(turned, x, x, y), y)


def test_weights_balance_an_attribute(generator: torch.Generator) -> None:
    x, has = rows(6, 4, generator), torch.tensor([True, True, False, False, False, False])
    weight = torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0, 3.0]).double()
    repeated = [0, 0, 1, 2, 4, 5, 5, 5]
    close(attribute_vector(PixelSpace(), x, has, weight), attribute_vector(PixelSpace(), x[repeated], has[repeated]))


def test_a_traversal_moves_one_number_at_a_time(generator: torch.Generator) -> None:
    x = rows(1, 4, generator)
    walk = traverse(PixelSpace(), x, [-1.0, 0.0, 1.0], [2, 0])
    assert walk.shape == (2, 3, 4)
    for row, index in enumerate([2, 0]):
        close(walk[row, :, index], torch.tensor([-1.0, 0.0, 1.0]).double())
        others = [i for i in range(4) if i != index]
        assert torch.equal(walk[row][:, others], x[:, others].expand(3, -1))
    assert traverse(PixelSpace(), x, [0.0]).shape == (4, 1, 4)


CODERS = {
    "autoencoder": lambda g: Autoencoder.dense(Bernoulli(16), [6, 3], generator=g),
    "dbn": lambda g: DBN.of_sizes([16, 6, 3]),
    "rbm": lambda g: RBM(16, 3),
    "vae": lambda g: dense_vae(Bernoulli(16), [3], hidden=[[8]], generator=g),
    "vae of two layers": lambda g: dense_vae(Bernoulli(16), [4, 3], hidden=[[8], [8]], generator=g),
    "rbm_vae": lambda g: make_rbm_vae(Bernoulli(16), (3, 2), hidden=[8], generator=g),
}


@pytest.mark.parametrize("kind", CODERS)
def test_every_coder_walks(kind: str, generator: torch.Generator, tmp_path: Path) -> None:
    model = CODERS[kind](generator)
    x = torch.rand(4, 16, generator=generator)
    walk, pixels = beside_pixels(interpolate, model, x[:2], x[2:], 5)
    close(walk[:, 0], model.decode(model.encode(x[:2])))
    assert walk.shape == pixels.shape == (2, 5, 16)
    cases = torch.stack([walk, pixels], 1).flatten(0, 2)  # each walk over its twin in pixels
    (tmp_path / "walk.png").write_bytes(png_of_tiles(cases.numpy(), (4, 4), columns=5))
    width, height = Image.open(tmp_path / "walk.png").size
    assert math.isclose(width / height, 5 / 4, rel_tol=0.01)


class Shifted:
    """A coder that adds its condition on the way down and takes it off on the way up."""

    def encode(self, x: Tensor, *, condition: Tensor) -> Tensor:
        return x - condition

    def decode(self, z: Tensor, *, condition: Tensor) -> Tensor:
        return z + condition


def test_a_condition_goes_up_and_down_with_its_own_case(generator: torch.Generator) -> None:
    shifted, x, y, c = Shifted(), *(rows(5, 3, generator) for _ in range(3))
    d = rows(5, 3, generator)
    close(interpolate(shifted, x, y, 4, condition=c), interpolate(PixelSpace(), x, y, 4))
    close(interpolate(shifted, x, y, 4, condition=c, last_condition=d), interpolate(PixelSpace(), x, y, 4))
    close(interpolate(shifted, x, y, 4, condition=c[0], last_condition=d[0]), interpolate(PixelSpace(), x, y, 4))
    has = torch.tensor([True, True, False, False, False])
    vector = attribute_vector(shifted, x, has, condition=c)
    close(vector, attribute_vector(PixelSpace(), x - c, has))
    close(add_attribute(shifted, x, vector, [0.0, 2.0], condition=c), torch.stack([x, x + 2 * vector], 1))
    close(analogy(shifted, x, y, d, condition=c), y - x + d)
    walk = traverse(shifted, x[:1], [0.0, 7.0], [1], condition=c[:1])[0]
    close(walk[:, 1], c[0, 1] + torch.tensor([0.0, 7.0]).double())
    close(walk[:, [0, 2]], x[:1, [0, 2]].expand(2, -1))


def test_a_conditional_vae_walks_from_class_to_class(generator: torch.Generator) -> None:
    vae = dense_vae(Bernoulli(16), [3], hidden=[[8]], n_condition=2, generator=generator)
    x, one_hot = torch.rand(4, 16, generator=generator), torch.eye(2)
    walks, pixels = beside_pixels(
        interpolate, vae, x[:2], x[2:], 5, path="spherical", condition=one_hot[0], last_condition=one_hot
    )
    assert walks.shape == pixels.shape == (2, 5, 16)
    close(walks[:, 0], vae.decode(vae.encode(x[:2], condition=one_hot[0]), condition=one_hot[0]))
    close(walks[:, -1], vae.decode(vae.encode(x[2:], condition=one_hot), condition=one_hot))
    fixed = interpolate(vae, x[:2], x[2:], 5, condition=one_hot[0])
    close(fixed[:, -1], vae.decode(vae.encode(x[2:], condition=one_hot[0]), condition=one_hot[0]))
    has = torch.tensor([True, True, False, False])
    vector = attribute_vector(vae, x, has, condition=one_hot[0])
    more = add_attribute(vae, x, vector, [0.0, 1.0], condition=one_hot[1])
    close(more[:, 1], vae.decode(vae.encode(x, condition=one_hot[1]) + vector, condition=one_hot[1]))
    assert traverse(vae, x[:1], [-1.0, 1.0], condition=one_hot[1]).shape == (3, 2, 16)


def test_a_fade_is_the_line_between_both_ends(generator: torch.Generator) -> None:
    x = rows(5, 4, generator).unsqueeze(0)
    t = torch.tensor([0.0, 0.25, 1.0]).double()
    close(cross_fade(x, t), interpolate(PixelSpace(), x[:, 0], x[:, -1], 5)[:, [0, 1, 4]])


def test_what_makes_no_sense_gets_a_sentence(generator: torch.Generator) -> None:
    space, x = PixelSpace(), rows(3, 4, generator)
    none = torch.zeros(3, dtype=torch.bool)
    for wrong, sentence in (
        (lambda: interpolate(space, x, x, 1), "n must be at least 2"),
        (lambda: interpolate(space, x, x, path="sperical"), "Did you mean 'spherical'"),
        (lambda: interpolate(space, x, x, last_condition=x), "last_condition must be None"),
        (lambda: attribute_vector(space, x, none), "some cases must have the attribute"),
        (lambda: attribute_vector(space, x, ~none), "some cases must lack the attribute"),
        (lambda: attribute_vector(space, x, none[:2]), "has must be 3 booleans"),
        (lambda: traverse(space, x, [0.0]), r"x must be one case, \(1, d\)"),
        (lambda: traverse(space, x[:1], [0.0], [4]), "every dimension must be at least 0 and at most 3"),
    ):
        with pytest.raises(DeepBeliefError, match=sentence):
            wrong()
