"""Resumed = never stopped, bit for bit, for every model of the newer wings; and what a forgotten state would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepbelief.adversarial.cycle_learning import CycleLearning
from deepbelief.adversarial.learning import AdversarialLearning
from deepbelief.belief.rbm_vae_learning import RBMVAELearning
from deepbelief.errors import StorageError
from deepbelief.storage import read_state, state_to_bytes
from deepbelief.training.optimization import Descent
from tests.contracts import wings


def crashed(name: str, folder: Path) -> Path:
    """A training that ended without a word at step 4; its last checkpoint is that of step 3, in the middle."""
    with pytest.raises(wings.PulledPlugError):
        wings.train(name, crash_at=4, checkpoint_dir=folder)
    assert read_state(wings.saved_at(name, folder))["position"] == {"epoch": 1, "batch": 1, "step": 3}
    return folder


@pytest.mark.parametrize("name", wings.EVERY)
def test_resumed_is_never_stopped(name: str, tmp_path: Path) -> None:
    whole = wings.train(name)
    resumed = wings.train(name, resume_from=crashed(name, tmp_path))
    assert state_to_bytes(resumed) == state_to_bytes(whole)


@pytest.mark.parametrize(
    ("name", "place", "forgotten"),
    [
        ("gan, wgan", AdversarialLearning, {"critic_steps": 0}),
        ("cycle gan, convolutional, averaged", CycleLearning, {"steps": 0}),
        ("vae, two layers", Descent, {"moments": {}}),
        ("rbm vae, relaxed", RBMVAELearning, {"chains": None}),
    ],
)
def test_a_forgotten_state_shows(
    name: str, place: Any, forgotten: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, folder = wings.train(name), crashed(name, tmp_path)
    load = place.load_state_dict

    def forgetful(self: Any, state: dict[str, Any]) -> None:
        if forgotten.get("chains", 0) is None:  # chains that begin anew, as those of no checkpoint
            generator = wings.stream(5)
            self.chains.start(self.model.rbm, self.model.rbm.visible_offset, generator, rank=0, world_size=1)
            state = {**state, "chains": self.chains.state_dict()}
        load(self, {**state, **({} if forgotten.get("chains", 0) is None else forgotten)})

    monkeypatch.setattr(place, "load_state_dict", forgetful)
    assert state_to_bytes(wings.train(name, resume_from=folder)) != state_to_bytes(whole)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = crashed("vae, two layers", tmp_path)
    with pytest.raises(StorageError, match="resume_from must be a checkpoint of the same training"):
        wings.train("gan, ns", resume_from=folder)
    with pytest.raises(StorageError, match="must hold the tensors of this VAE"):
        wings.train("vae, conditional", resume_from=folder)
