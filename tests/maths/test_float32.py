"""Products by oneDNN: where they are taken, that they stay float32, and that the caller's precision comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.data.source import make_source
from deepbelief.maths import float32
from deepbelief.maths.float32 import multiplies_bf16, onednn_is_quicker, quick_float32
from deepbelief.recipes import recipe
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.units.bernoulli import Bernoulli

LARGE = nn.Linear(784, 500)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were such a processor."""
    monkeypatch.setattr(float32, "onednn_is_quicker", lambda: True)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    for library in float32._libraries():
        library.fp32_precision = "none"


def precision() -> str:
    return torch.get_float32_matmul_precision()


@pytest.mark.usefixtures("taken")
def test_inside_products_are_onednns_and_after_what_they_were() -> None:
    with quick_float32(LARGE, rows=100):
        assert precision() == "medium"
        with quick_float32(LARGE, rows=100):
            assert precision() == "medium"
        assert precision() == "medium"
    assert precision() == "highest"
    with suppress(KeyError), quick_float32(LARGE, rows=100):
        raise KeyError
    assert precision() == "highest"


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    ("module", "rows"),
    [
        (LARGE, 5),  # 13 microseconds for each product would be lost
        (nn.Linear(20, 20), 1000),
        (nn.Conv2d(3, 500, 5), 10_000),
        (nn.Linear(784, 500).double(), 100),
        (nn.Linear(784, 500, device="meta"), 100),
        (nn.Identity(), 10_000),
    ],
)
def test_small_products_and_others_are_left_alone(module: nn.Module, rows: int) -> None:
    with quick_float32(module, rows):
        assert precision() == "highest"


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("wanted", ["high", "medium"])
def test_a_precision_that_the_caller_set_stays(wanted: str) -> None:
    torch.set_float32_matmul_precision(wanted)
    with quick_float32(LARGE, rows=100):
        assert precision() == wanted
    assert precision() == wanted


@pytest.mark.usefixtures("taken")
@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="this torch has no setting for each library")
def test_a_setting_for_one_library_stays() -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"
    with quick_float32(LARGE, rows=100):
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


@pytest.mark.usefixtures("taken")
@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="this torch has no setting for each library")
def test_a_common_setting_still_reaches_the_libraries_after() -> None:
    with quick_float32(LARGE, rows=100):
        pass
    assert torch.backends.mkldnn.matmul.fp32_precision == "none"
    assert torch.backends.cuda.matmul.fp32_precision == "none"


def test_products_inside_are_float32_on_every_machine() -> None:
    x, w = torch.randn(100, 784, generator=make_generator(0)), torch.randn(784, 500, generator=make_generator(1))
    with quick_float32(LARGE, rows=100):
        found = x @ w
    torch.testing.assert_close(found.double(), x.double() @ w.double(), rtol=0, atol=2e-4)


@pytest.mark.usefixtures("taken")
def test_how_a_case_is_scored_depends_on_no_other_case(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = dense_vae(Bernoulli(200), [5], hidden=[[200]], generator=make_generator(1))
    seen: list[str] = []
    own = vae.log_weights

    def noting(*args: Any, **options: Any) -> Any:
        seen.append(precision())
        return own(*args, **options)

    monkeypatch.setattr(vae, "log_weights", noting)
    for n_samples, expected in ((10, "highest"), (500, "medium")):
        for cases in (1, 300):
            seen.clear()
            vae.log_likelihood(torch.zeros(cases, 200), n_samples=n_samples, generator=make_generator(0))
            assert set(seen) == {expected}


@pytest.mark.parametrize("rounded", [False, True])
def test_where_products_are_rounded_nothing_is_set(rounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rounding(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if rounded and function is Tensor.matmul and args[0].dtype is torch.float32:
                args = tuple(x.bfloat16().float() for x in args)
            return function(*args, **(kwargs or {}))

    monkeypatch.setattr(float32, "_processor", lambda: "AuthenticAMD")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    with Rounding():
        assert onednn_is_quicker.__wrapped__() is (not rounded)
    assert precision() == "highest"


@pytest.mark.parametrize(("capability", "processor"), [("AVX2", "AuthenticAMD"), ("AVX512", "GenuineIntel")])
def test_other_processors_keep_mkl(capability: str, processor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32, "_processor", lambda: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert not onednn_is_quicker.__wrapped__()


@pytest.mark.parametrize("flags", ["avx2", "avx2 avx512_bf16", "fp asimd bf16"])
@pytest.mark.parametrize("gpu", [None, (7, 5), (8, 0), (9, 0)])
def test_bfloat16_is_taken_where_hardware_multiplies_it(
    flags: str, gpu: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(float32, "_processor", lambda: f"flags: {flags}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    own = multiplies_bf16.__wrapped__
    assert own() is own("cpu") is ("bf16" in flags)
    assert own("cuda") is (gpu is not None and gpu[0] >= 8)
    monkeypatch.setattr(recipe, "multiplies_bf16", own)
    where = own("cuda") if gpu is not None else own("cpu")  # trainers go to the GPU where there is one
    assert recipe.Options().precision == ("bf16" if where else "fp32")


@pytest.mark.usefixtures("taken")
def test_a_training_by_onednn_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32, "LEAST", 1)
    x = (torch.rand(120, 60, generator=make_generator(0)) < 0.3).float()

    def trained(epochs: int, resume: bool) -> nn.Module:
        vae = dense_vae(Bernoulli(60), [5], hidden=[[40]], generator=make_generator(1))
        trainer = Trainer(epochs=4, max_steps=12 * epochs, progress=False, checkpoint_dir=tmp_path, device="cpu")
        trainer.fit(ELBO(vae), make_source(x, batch_size=10), resume_from=tmp_path if resume else None)
        assert precision() == "highest"
        return vae

    whole = trained(4, resume=False)
    trained(2, resume=False)
    again = trained(4, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
