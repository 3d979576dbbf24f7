"""What the recipe of features says about its codes, against the definitions, and that fine-tuning starts from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepbelief import Autoencoder as Estimator
from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.energy.rbm import RBM
from deepbelief.recipes import autoencoder_features as recipe
from deepbelief.recipes.recipe import Options
from deepbelief.rng import make_generator
from deepbelief.types import Result
from deepbelief.units.bernoulli import Bernoulli

close = torch.testing.assert_close


def options_in(folder: Path) -> Options:
    return Options(seed=1, out=folder, quick=True, progress=False, threads=1)


def steep_coder() -> Autoencoder:
    """A small network over the digits, so steep that some of its units are saturated and some are not."""
    net = Autoencoder.dense(Bernoulli(64), [6], code="sigmoid", tied=True, generator=make_generator(0))
    with torch.no_grad():
        net.encoder.linear_layers[0].weight.mul_(12)  # type: ignore[operator, union-attr]
    return net


def test_a_machine_unrolled_has_its_own_means_up_and_down() -> None:
    machine = RBM(5, 3, generator=make_generator(0))
    for units in (machine.visible, machine.hidden):
        units.bias.data.normal_(generator=make_generator(1))
    net, v = recipe.unrolled(machine), torch.rand(4, 5, generator=make_generator(2))
    h = machine.mean_h_from_v(v)
    close(net.encode(v), h)
    close(net.reconstruct(v), machine.mean_v_from_h(h))


def by_hand(net: Autoencoder, x: Tensor) -> dict[str, float]:
    """The definitions, one case and one unit at a time."""
    rows = [torch.autograd.functional.jacobian(lambda row: net.encode(row[None])[0], row) for row in x]
    codes = [code for row in x for code in net.encode(row[None])[0].tolist()]
    return {
        "norm of the Jacobian": sum(float(row.norm()) for row in rows) / len(rows),
        "saturated units": 100 * sum(code < 0.05 or code > 0.95 for code in codes) / len(codes),
        "mean code": sum(codes) / len(codes),
    }


def test_what_is_said_of_codes_is_their_definition(tmp_path: Path) -> None:
    options, net = options_in(tmp_path), steep_coder()
    fit, whole = options.load("fit"), options.load("test")
    test = replace(whole, x=whole.x[:40], y=None if whole.y is None else whole.y[:40])
    found: dict[str, Result] = {row.quantity: row for row in recipe.described("any", net, fit, test, options)}
    wanted = by_hand(net, test.scaled())
    assert 5 < wanted["saturated units"] < 95
    for name, value in wanted.items():
        assert found[f"{name}, any"].value == pytest.approx(value, rel=1e-4)


def test_fine_tuning_starts_from_the_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "EPOCHS_TAUGHT", 0)
    options, net = options_in(tmp_path), steep_coder()
    fit = options.load("fit")
    classifier = recipe.taught("any", net, fit, options)
    x = fit.scaled()[:5]
    close(classifier.layers[:2](x), net.encode(x))


def test_each_kind_is_what_its_name_says() -> None:
    """Each differs from the plain one in the arguments of its own price alone, and all can be made."""
    plain = Estimator(**recipe.SHARED).get_params()
    for kind, arguments in recipe.KINDS.items():
        params = Estimator(**{**recipe.SHARED, **arguments}).get_params()
        assert {name for name in params if params[name] != plain[name]} == set(arguments), kind
