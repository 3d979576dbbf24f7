"""How well a score finds anomalies: scores are negative log-likelihoods (or free energies), higher is odder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.measured import check_same_length, to_numpy
from deepbelief.types import Result


def anomaly_results(scores: Any, is_anomaly: Any, *, data: str, model_name: str) -> list[Result]:
    """Area under the ROC curve and average precision of `scores` for the cases where `is_anomaly` is true.

    The area is the probability that an anomaly scores above a normal case (ties count half); its standard error is that
    of Hanley & McNeil (1982). Average precision is to be read against the share of anomalies, the row beside it, which
    is what random scores reach.
    """
    s, odd = to_numpy(scores).astype(np.float64).reshape(-1), to_numpy(is_anomaly).astype(bool).reshape(-1)
    check_same_length(s, odd, "scores", "is_anomaly")
    if not np.isfinite(s).all():
        raise InvalidDataError("scores must be finite. Got NaN or infinity. Drop these cases or learn again.")
    n_odd, n_normal = int(odd.sum()), int((~odd).sum())
    if min(n_odd, n_normal) == 0:
        raise InvalidDataError(
            f"is_anomaly must mark some cases, and not all. Got {n_odd} anomalies among {len(odd)} cases."
        )
    from sklearn.metrics import average_precision_score, roc_auc_score

    area, precision = float(roc_auc_score(odd, s)), float(average_precision_score(odd, s))
    error = area_error(area, n_odd, n_normal)
    return [
        Result("area under the ROC curve", area, "measured", error, "", data, model_name),
        Result("average precision", precision, "measured", None, "", data, model_name),
        Result("average precision", n_odd / len(odd), "measured", None, "", data, "random scores"),
    ]


def alarm_results(alarms: Any, is_anomaly: Any, *, data: str, model_name: str) -> list[Result]:
    """F1, the share of normal cases with an alarm and the share of anomalies without one, case by case.

    F1 is to be read against that of an alarm for every case, the row beside it. Series are judged step by step: calling
    a whole stretch found where one step of it was ("point adjustment") makes even random alarms look good (Kim et al.
    2022, "Towards a Rigorous Evaluation of Time-series Anomaly Detection").
    """
    alarm, odd = to_numpy(alarms).astype(bool).reshape(-1), to_numpy(is_anomaly).astype(bool).reshape(-1)
    check_same_length(alarm, odd, "alarms", "is_anomaly")
    if odd.all() or not odd.any():
        raise InvalidDataError(f"is_anomaly must mark some cases, and not all. Got {int(odd.sum())} of {len(odd)}.")
    hits = int((alarm & odd).sum())
    rows = {
        "F1": 2 * hits / (int(alarm.sum()) + int(odd.sum())),
        "false alarm rate": float(alarm[~odd].mean()),
        "missed alarm rate": 1 - hits / int(odd.sum()),
    }
    found = [Result(name, value, "measured", None, "", data, model_name) for name, value in rows.items()]
    share = float(odd.mean())
    return [*found, Result("F1", 2 * share / (1 + share), "measured", None, "", data, "an alarm for every case")]


def area_error(area: float, n_odd: int, n_normal: int) -> float:
    """The standard error of an area under the ROC curve (Hanley & McNeil 1982, equation 1).

    >>> area_error(1.0, 10, 10)
    0.0
    """
    both_odd, both_normal = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n_odd - 1) * (both_odd - area**2) + (n_normal - 1) * (both_normal - area**2)
    return math.sqrt(max(variance, 0.0) / (n_odd * n_normal))
