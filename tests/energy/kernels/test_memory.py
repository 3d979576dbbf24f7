"""More chains than memory holds are refused with a sentence, before anything is allocated."""

import pytest
import torch

from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.kernels.gibbs import check_chains, memory_bytes
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Batch


def test_too_many_chains_are_refused(generator: torch.Generator) -> None:
    rbm = RBM(5, 3)
    with pytest.raises(InvalidArgumentError, match=r"must fit in memory: at most [\d,]+ here\. Got 1,000,000,000,000"):
        rbm.sample(10**12, generator=generator)
    procedure = make_procedure(rbm, LearningSettings(n_chains=10**12))
    with pytest.raises(InvalidArgumentError, match="must fit in memory"):
        procedure.start(Batch(torch.zeros(2, 5)), generator)


def test_as_many_chains_as_fit_are_taken() -> None:
    room = memory_bytes(torch.device("cpu"))
    if room is None:
        pytest.skip("this system does not tell its memory")
    most = room // (4 * 8 * 4)
    check_chains(most, RBM(5, 3))
    with pytest.raises(InvalidArgumentError):
        check_chains(most + 1, RBM(5, 3))
