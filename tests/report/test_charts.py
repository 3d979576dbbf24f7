"""Charts and histories: what is drawn is what was given, and odd input does not stop the page."""

import numpy as np
import pytest

from deepbelief.report.charts import bars, confusion, heat_map, intervals, scatter
from deepbelief.report.histories import curve_panels, position_name, stage_curves
from deepbelief.report.numbers import MINUS, format_error, format_number, headline_results
from deepbelief.report.svg import INK, VARIABLES
from deepbelief.types import Bound, Result


def test_missing_values_leave_gaps_and_texts_are_no_metrics():
    rows = [{"epoch": 1, "loss": None, "note": "x"}, {"epoch": 2, "loss": 0.5}, {"epoch": 3, "loss": float("inf")}]
    assert stage_curves(rows) == {"loss": {"training": ([2], [0.5])}}


def test_units_are_never_mixed_on_an_axis():
    rows = [{"epoch": i, "loss": 1.0, "validation_loss": 2.0, "accuracy": 0.5} for i in (1, 2)]
    assert {metric: list(lines) for metric, lines in stage_curves(rows).items()} == {
        "loss": ["training", "validation"],
        "accuracy": ["training"],
    }
    panels = curve_panels({"fine-tuning": rows}).panels
    assert [panel.caption for panel in panels] == ["Loss", "Accuracy"]


def test_position_is_the_epoch_unless_epochs_repeat():
    assert position_name([{"epoch": 1, "step": 1}, {"epoch": 2, "step": 2}]) == "epoch"
    assert position_name([{"epoch": 1, "step": 1}, {"epoch": 1, "step": 2}]) == "step"
    assert position_name([{"loss": 1.0}]) == "row"


def test_confusion_shows_every_count_and_survives_empty_rows():
    chart = confusion(np.array([[51, 0, 7], [0, 0, 0], [3, 0, 99]]), ["a", "b", "c"], "counts")
    for count in ("51", "7", "3", "99"):
        assert f">{count}<" in chart
    assert confusion(np.zeros((1, 1)), ["only"], "empty").startswith("<svg")


def test_intervals_print_values_of_every_kind():
    bounds = {
        "a": Bound(-15.0, "estimate", 0.1, low=-15.4, high=-14.9),
        "b": Bound(-14.0, "lower_bound"),
        "c": Bound(-13.0, "upper_bound", float("nan")),
        "d": Bound(-12.5, "exact"),
    }
    chart = intervals(bounds, "nats", "four").replace(MINUS, "-")
    for text in ("-15.00", "-14", "-13", "-12.5", ">a<", ">d<"):
        assert text in chart


def test_infinite_log_likelihood_is_told_instead_of_drawn():
    chart = intervals({"a": Bound(float("-inf"), "estimate"), "b": Bound(-1.0, "exact")}, "nats", "two").replace(
        MINUS, "-"
    )
    assert "-∞" in chart


@pytest.mark.parametrize(
    "labels", [None, np.array([0, 1, -1]), np.array([0.1, 0.2, 0.3]), np.array([True, False, True])]
)
def test_scatter_takes_any_labels(labels):
    chart = scatter(np.eye(3, 2), labels, ["zero", "$one$"], "three")
    assert chart.startswith("<svg")
    if labels is not None and labels.dtype.kind == "i":
        assert "unlabelled" in chart
        assert "$one$" in chart


def test_bars_show_the_strongest_by_name():
    chart = bars(np.array([0.1, -5.0, 3.0]), ["weak", "strong", "middle"], "three", most=2)
    assert "strong" in chart
    assert "middle" in chart
    assert "weak" not in chart


def test_heat_map_names_columns_where_there_is_room():
    named = heat_map(np.zeros((2, 3)), "small", limits=(0, 1), column_names=["a", "b", "last"])
    assert ">last<" in named
    crowded = heat_map(np.zeros((2, 300)), "wide", limits=(0, 1), column_names=[f"name{i}" for i in range(300)])
    assert "name299" not in crowded


def test_no_stand_in_colour_reaches_the_page():
    chart = bars(np.array([1.0, -1.0]), ["a", "b"], "two")
    assert INK not in chart
    assert not any(colour in chart for colour in VARIABLES)


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (-86.3412, 0.042, "-86.341"),
        (0.0, None, "0"),
        (float("nan"), None, "none"),
        (float("-inf"), 0.1, "-∞"),
        (48.20, None, "48.2"),
        (1e-7, None, "1e-07"),
        (12345.6, 20.0, "12,346"),
    ],
)
def test_numbers_have_the_digits_that_their_error_justifies(value, stderr, text):
    assert format_number(value, stderr).replace(MINUS, "-") == text


def test_errors_that_say_nothing_are_left_out():
    assert [format_error(error) for error in (None, 0.0, float("nan"), 0.0421)] == ["", "", "", "0.042"]


def test_headline_skips_what_has_no_value():
    results = [Result("a", None, "estimate", None, "", "", ""), Result("b", 1.0, "exact", 0.0, "", "", "")]
    assert [r.quantity for r in headline_results(results, None)] == ["b"]
    assert headline_results(results, ["a", "absent"]) == []
