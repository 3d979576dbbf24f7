"""One integer from scikit-learn's ``random_state``: everything that a fit draws follows from it."""

from __future__ import annotations

import os
from numbers import Integral
from typing import Any

import torch
from sklearn.utils import check_random_state

from deepbelief.errors import check, check_count

TOP = 2**31 - 1


def seed_of(random_state: Any) -> int:
    """An integer seed: an integer is itself, a RandomState or a torch.Generator is drawn from, None is fresh.

    >>> seed_of(7)
    7
    """
    if isinstance(random_state, Integral):
        check_count("random_state", int(random_state), low=0)
        return int(random_state)
    if isinstance(random_state, torch.Generator):
        device = random_state.device
        return int(torch.randint(TOP, (1,), generator=random_state, device=device))
    check(
        random_state is not None or int(os.environ.get("WORLD_SIZE", "1")) == 1,
        "random_state must be given with several processes, which share out one order of the cases. Got None. "
        "Use random_state=0, for example.",
    )
    # None is NumPy's global stream here, as everywhere in scikit-learn
    return int(check_random_state(random_state).randint(TOP))
