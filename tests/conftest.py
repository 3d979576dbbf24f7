"""What every test shares: one thread, reproducible random numbers, and a window-less matplotlib."""

import os
import zlib

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports it: kernels for GPUs run as NumPy here

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

# No deadline: a busy machine must not fail a test. Derandomized: the same examples on every run.
hypothesis.settings.register_profile("deepbelief", deadline=None, derandomize=True)
hypothesis.settings.load_profile("deepbelief")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--seed``, which repeats the statistical tests with other random numbers."""
    parser.addoption("--seed", type=int, default=0, help="seed of the `generator` fixture (default 0)")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of each test's own, so that no two tests share their random numbers."""
    return zlib.crc32(f"{request.config.getoption('--seed')} {request.node.nodeid}".encode())


@pytest.fixture
def generator(seed: int) -> torch.Generator:
    """A generator that gives each test its own numbers, the same on every run with the same ``--seed``."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _same_global_stream(seed: int) -> None:
    """Layers without a generator of their own (torch's dropout, default initialisation) repeat as well."""
    torch.manual_seed(seed)
