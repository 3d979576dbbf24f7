"""Settings print, edit and run again; what is unknown or wrong is told before any work."""

from dataclasses import fields

import pytest
import yaml

from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.errors import InvalidArgumentError
from deepbelief.recipes.run_defaults import demo_settings
from deepbelief.recipes.settings import LEARNING_NOTES, FineTuning, RunSettings, read_settings, write_settings


def test_yaml_comes_back_unchanged(tmp_path):
    settings = RunSettings.from_dict(
        {
            "data": {"name": "olivetti", "inverted": True, "max_train": 50},
            "model": {"layers": [30, 20, 10], "visible": "spin"},
            "learning": [{"epochs": 1}, {"epochs": 2, "learning": "cd"}, {"epochs": 3, "averaging": 0.9}],
            "fine_tuning": {"learning_rate": 1e-4, "max_norm": 3},
            "seed": 7,
        }
    )
    write_settings(settings, tmp_path / "s.yaml")
    assert read_settings(tmp_path / "s.yaml") == settings
    assert RunSettings.from_dict(settings.to_dict()) == settings


def test_printed_settings_explain_themselves():
    text = RunSettings(fine_tuning=FineTuning()).to_yaml()
    assert yaml.safe_load(text) == RunSettings(fine_tuning=FineTuning()).to_dict()
    assert "# drawn anew" in text or "drawn anew for each batch" in text
    assert "# persistent chains" in text
    named = {"epochs", "learning_rate", "momentum"}  # by their names
    assert {field.name for field in fields(LearningSettings)} == named | set(LEARNING_NOTES)


def test_a_number_that_yaml_reads_as_text_is_a_number():
    assert RunSettings.from_yaml("fine_tuning: {learning_rate: 1e-4}").fine_tuning == FineTuning(learning_rate=1e-4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modell: {}", r"must have known names. Got 'modell'. Did you mean 'model'\?"),
        (
            "data: {binarisation: none}",
            r"data must have known names. Got 'binarisation'. Did you mean 'binarization'\?",
        ),
        ("learning: [{epoch: 3}]", r"learning\[0\] must have known names. Got 'epoch'. Did you mean 'epochs'\?"),
        ("data: {binarization: stochastics}", "Did you mean 'stochastic'"),
        ("model: {layers: [ten]}", r"model.layers\[0\] must be a whole number. Got 'ten'"),
        ("model: {layers: [0]}", "model.layers must be at least 1"),
        ("model: {kind: rbm, layers: [3, 2]}", "model.layers must be 1 number for an RBM. Got 2"),
        ("seed: true", "seed must be a whole number"),
        ("seed: -1", "seed must be at least 0"),
        ("learning: [{epochs: 1}, {epochs: 2}, {epochs: 3}]", "learning must have 1 entry or 2"),
        ("fine_tuning: {schedule: cosin}", "Did you mean 'cosine'"),
        ("evaluation: {watch: [log_likelyhood]}", "Did you mean 'log_likelihood'"),
        ("precision: fp16", "precision must be one of 'fp32', 'bf16'"),
        ("data: [", "must be YAML"),
        ("3", "must be names and values"),
    ],
)
def test_a_mistake_is_one_sentence(text, sentence):
    with pytest.raises(InvalidArgumentError, match=sentence):
        RunSettings.from_yaml(text)


def test_parts_change_and_the_rest_stays():
    settings = demo_settings("digits")
    changed = settings.but(seed=3, data={"inverted": True}, fine_tuning={"epochs": 1})
    assert changed.data == settings.data.__class__(**{**vars(settings.data), "inverted": True})
    assert changed.fine_tuning == FineTuning(**{**vars(settings.fine_tuning), "epochs": 1})
    assert (changed.seed, changed.model) == (3, settings.model)
    assert settings.but(fine_tuning=None).fine_tuning is None
    with pytest.raises(InvalidArgumentError, match="Did you mean 'seed'"):
        settings.but(sed=1)


def test_one_plan_serves_all_layers():
    settings = RunSettings.from_dict({"model": {"layers": [4, 3]}, "learning": {"epochs": 2}})
    assert settings.plans() == [LearningSettings(epochs=2)] * 2
