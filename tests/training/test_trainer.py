"""The loop's promises: limits, progress, averages, divergence, callbacks, logs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.data.source import ArraySource
from deepbelief.errors import DivergenceError, InvalidArgumentError, InvalidDataError
from deepbelief.protocols import Procedure, StepContext
from deepbelief.storage import read_state
from deepbelief.training import trainer as trainer_module
from deepbelief.training.callbacks import Callback, EarlyStopping, Watch
from deepbelief.training.progress import PlainProgress
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch, Bound


class Counter:
    """A procedure whose one parameter counts its steps, so that everything about the loop can be computed by hand."""

    def __init__(self, metrics: Mapping[int, float] | None = None, fail_at: int | None = None) -> None:
        self.module = nn.Module()
        self.module.count = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.metrics, self.fail_at = metrics or {}, fail_at
        self.learning_rate = 0.25
        self.started = 0
        self.contexts: list[StepContext] = []

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        self.started += 1

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        self.contexts.append(context)
        if context.step == self.fail_at:
            raise DivergenceError("all chains are in one state. Lower learning_rate.")
        with torch.no_grad():
            self.module.count += 1  # type: ignore[operator, assignment]
        return {"mean": batch.x.double().mean(), "loss": self.metrics.get(context.step, 1.0)}

    def state_dict(self) -> dict[str, Any]:
        return {"started": self.started}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.started = state["started"]

    @property
    def count(self) -> float:
        return self.module.count.item()  # type: ignore[operator, return-value]


def source(n: int = 10, batch_size: int = 4) -> ArraySource:
    return ArraySource(torch.arange(float(n)).reshape(n, 1), batch_size=batch_size)


def test_counter_is_a_procedure() -> None:
    assert isinstance(Counter(), Procedure)


@pytest.mark.parametrize(
    ("limits", "steps", "reason"),
    [
        ({"epochs": 4}, 12, "epochs"),
        ({"max_steps": 7}, 7, "max_steps"),
        ({"epochs": 2, "max_steps": 100}, 6, "epochs"),
        ({"epochs": 0}, 0, "epochs"),
        ({"epochs": 4, "max_seconds": 0}, 0, "max_seconds"),
    ],
)
def test_limits(limits: dict[str, Any], steps: int, reason: str) -> None:
    procedure = Counter()
    record = Trainer(progress=False, **limits).fit(procedure, source())
    assert (procedure.count, record.steps, record.stop_reason) == (steps, steps, reason)
    assert procedure.started == 1


def test_history_holds_means_over_cases_and_the_last_part_of_an_epoch() -> None:
    record = Trainer(max_steps=8, progress=False).fit(Counter(), source())
    assert record.column("epoch") == [1, 2, 2 + 2 / 3]
    assert record.column("step") == [3, 6, 8]
    assert record.column("mean")[:2] == pytest.approx([4.5, 4.5])  # batches of 4, 4 and 2 cases
    assert record.cases == 28


def test_progress_runs_from_zero_to_one_over_the_plan() -> None:
    procedure = Counter()
    Trainer(epochs=4, progress=False).fit(procedure, source())
    assert [context.progress for context in procedure.contexts] == pytest.approx([i / 12 for i in range(12)])
    assert [context.epoch for context in procedure.contexts] == [i // 3 for i in range(12)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_puts_the_last_good_weights_back(tmp_path: Path, bad: float) -> None:
    procedure = Counter({7: bad})
    with pytest.raises(
        DivergenceError, match=r"loss is (nan|inf).* weights of step 6 again.*Lower learning_rate \(now 0.25\)"
    ) as caught:
        Trainer(epochs=9, progress=False, checkpoint_dir=tmp_path).fit(procedure, source())
    assert procedure.count == 6
    assert str(tmp_path / "checkpoint.safetensors") in str(caught.value)
    assert read_state(tmp_path / "checkpoint.safetensors")["module"]["count"].item() == 6


def test_divergence_of_parameters_alone_is_seen_every_few_steps() -> None:
    class Poison(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            if trainer.step == 5:
                trainer.module.count.data.fill_(math.nan)  # type: ignore[operator, union-attr]

    procedure = Counter()
    with pytest.raises(DivergenceError, match="At step 8 count holds values that are not finite"):
        Trainer(epochs=9, progress=False, check_every=8, callbacks=[Poison()]).fit(procedure, source(n=400))
    assert procedure.count == 0


def test_a_procedures_own_divergence_also_restores() -> None:
    procedure = Counter(fail_at=4)
    with pytest.raises(
        DivergenceError, match=r"one state\. Lower learning_rate\. The model holds its weights of step 3"
    ):
        Trainer(epochs=9, progress=False).fit(procedure, source())
    assert procedure.count == 3


def test_averaged_weights_are_the_moving_average() -> None:
    seen: list[float] = []
    watch = Watch(1, lambda _: {"inside": procedure.count})
    procedure = Counter()
    trainer = Trainer(epochs=2, progress=False, averaging=0.75, callbacks=[watch])
    record = trainer.fit(procedure, source())
    average = 1.0
    for step in range(2, 7):
        decay = min(0.75, step / (9 + step))  # step - 1 weights were averaged before this one
        average = decay * average + (1 - decay) * step
        seen.append(average)
    assert record.column("inside") == pytest.approx([seen[1], seen[4]])
    assert procedure.count == pytest.approx(seen[4])


def test_early_stopping_restores_the_best_epoch() -> None:
    losses = [5.0, 4.0, 3.0, 3.5, 2.99, 3.5, 3.6]
    procedure = Counter({step: losses[step // 3] for step in range(21)})
    stopping = EarlyStopping("loss", patience=3, min_delta=0.1)
    record = Trainer(epochs=50, progress=False, callbacks=[stopping]).fit(procedure, source())
    assert (record.stop_reason, record.epochs, stopping.best, stopping.best_epoch) == ("early stopping", 6, 3.0, 3)
    assert procedure.count == 9


def test_early_stopping_upwards_and_without_restoring() -> None:
    procedure = Counter({step: [1.0, 2.0, 1.5, 1.0][step // 3] for step in range(12)})
    stopping = EarlyStopping("loss", patience=2, mode="max", restore_best=False)
    Trainer(epochs=50, progress=False, callbacks=[stopping]).fit(procedure, source())
    assert (procedure.count, stopping.best) == (12, 2.0)


def test_early_stopping_on_an_unknown_number_says_which_there_are() -> None:
    procedure = Counter()
    with pytest.raises(InvalidArgumentError, match=r"Got monitor='los'\. There are: mean, loss"):
        Trainer(epochs=9, progress=False, callbacks=[EarlyStopping("los", patience=2)]).fit(procedure, source())
    assert procedure.count == 6


def test_watch_adds_bounds_with_their_kinds_at_chosen_epochs() -> None:
    watch = Watch(3, lambda epoch: {"ll": Bound(-90.0 - epoch, "estimate", 0.5)}, name="test")
    record = Trainer(epochs=7, progress=False, callbacks=[watch]).fit(Counter(), source())
    measured = [row["epoch"] for row in record.history if "test.ll" in row]
    assert measured == [1, 3, 6, 7]
    assert record.column("test.ll") == [-91.0, -93.0, -96.0, -97.0]
    assert record.history[0]["test.ll.kind"] == "estimate"
    assert record.history[0]["test.ll.stderr"] == 0.5


def test_monitor_keeps_the_best_checkpoint(tmp_path: Path) -> None:
    procedure = Counter({step: [3.0, 1.0, 2.0][step // 3] for step in range(9)})
    Trainer(epochs=3, progress=False, checkpoint_dir=tmp_path, monitor="loss").fit(procedure, source())
    assert read_state(tmp_path / "best.safetensors")["position"]["epoch"] == 2
    assert read_state(tmp_path / "checkpoint.safetensors")["position"]["epoch"] == 3


def test_callbacks_are_closed_after_an_error() -> None:
    class Closing(Callback):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    closing = Closing()
    with pytest.raises(DivergenceError):
        Trainer(epochs=2, progress=False, callbacks=[closing]).fit(Counter({1: math.nan}), source())
    assert closing.closed == 1


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_log_follows_the_history_through_new_columns_and_resumes(tmp_path: Path) -> None:
    def run(epochs: int, resume: Path | None) -> Any:
        watch = Watch(2, lambda epoch: {"ll": Bound(-float(epoch), "exact")} if epoch > 1 else {})
        trainer = Trainer(epochs=epochs, progress=False, log_dir=tmp_path, checkpoint_dir=tmp_path, callbacks=[watch])
        return trainer.fit(Counter(), source(), resume_from=resume)

    run(3, None)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("4,12,lost after the checkpo")  # a line torn by a crash
    record = run(5, tmp_path)
    rows = read_csv(tmp_path / "log.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["ll"] for row in rows] == ["", "-2.0", "-3.0", "-4.0", "-5.0"]
    assert [float(row["mean"]) for row in rows] == record.column("mean")


def test_tensorboard_log_writes_every_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = Trainer(epochs=3, progress=False, log_dir=tmp_path, tensorboard=True).fit(Counter(), source())
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("mean")] == [
        (row["step"], pytest.approx(row["mean"])) for row in record.history
    ]


def test_plain_progress_is_one_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    Trainer(epochs=3, progress="plain").fit(Counter(), source())
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert "loss 1" in lines[0]
    assert "cases/s" in lines[0]


def test_progress_bar_shows_epochs_and_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    Trainer(epochs=3).fit(Counter(), source())
    shown = capsys.readouterr().err
    assert "epoch 3/3" in shown
    assert "100%" in shown
    assert "loss 1" in shown


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Trainer(epochs=1, progress=True).fit(Counter(), source())
    assert capsys.readouterr() == ("", "")


def test_bf16_reaches_the_procedure_and_keeps_float32_weights(small: ModuleType) -> None:
    seen: list[torch.dtype] = []

    class Look(Counter):
        def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
            with context.autocast():
                seen.append((batch.x @ batch.x.T).dtype)
            return super().step(batch, context)

    Trainer(epochs=1, progress=False, precision="bf16", device="cpu").fit(Look(), source())
    assert set(seen) == {torch.bfloat16}
    outcome = small.train(epochs=3, precision="bf16", device="cpu")
    assert {value.dtype for value in outcome["module"].values()} == {torch.float32}
    assert outcome["history"][-1]["loss"] < outcome["history"][0]["loss"]


def test_threads_hold_only_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "fair_share", lambda processes: 64)
    before = torch.get_num_threads()
    seen: list[int] = []

    class Look(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            seen.append(torch.get_num_threads())

    Trainer(epochs=1, progress=False, threads=before + 1, callbacks=[Look()]).fit(Counter(), source())
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_threads_are_no_more_than_cores_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Look(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    monkeypatch.setattr(trainer_module, "fair_share", lambda processes: 2)
    try:
        torch.set_num_threads(3)
        Trainer(epochs=1, progress=False, device="cpu", callbacks=[Look()]).fit(Counter(), source())
        assert set(seen) == {2}
        assert torch.get_num_threads() == 3
        with pytest.warns(RuntimeWarning, match=r"threads should be at most 2.* Got threads=3: .* Lower it"):
            Trainer(epochs=1, progress=False, device="cpu", threads=3, callbacks=[Look()]).fit(Counter(), source())
        assert seen[-1] == 3
        torch.set_num_threads(1)
        Trainer(epochs=1, progress=False, device="cpu", callbacks=[Look()]).fit(Counter(), source())
        assert seen[-1] == 1
    finally:
        torch.set_num_threads(before)


def test_a_source_that_breaks_its_promise_is_named() -> None:
    class Short(ArraySource):
        def batches(self, *args: Any, **kwargs: Any) -> Iterator[Batch]:
            yield from list(super().batches(*args, **kwargs))[:-1]

    with pytest.raises(InvalidDataError, match=r"3 batches per epoch that it promises\. Got 2 in epoch 0"):
        Trainer(epochs=1, progress=False).fit(Counter(), Short(torch.ones(10, 1), batch_size=4))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "epochs, max_steps or max_seconds must be given"),
        ({"epochs": -1}, "epochs must be at least 0. Got epochs=-1"),
        ({"epochs": 1, "checkpoint_every": ("epok", 1)}, "Did you mean 'epoch'"),
        ({"epochs": 1, "checkpoint_every": 0}, "checkpoint_every must be at least 1"),
        ({"epochs": 1, "monitor": "loss"}, "checkpoint_dir must be given with a monitor"),
        ({"epochs": 1, "averaging": 1.0}, "averaging must be at least 0 and below 1"),
        ({"epochs": 1, "precision": "fp16"}, "precision must be one of"),
        ({"epochs": 1, "device": "cda"}, "Did you mean 'cuda'"),
        ({"epochs": 1, "devices": "two"}, "devices must be 'auto' or an integer"),
        ({"epochs": 1, "progress": "loud"}, "progress must be True, False or 'plain'"),
        ({"epochs": 1, "tensorboard": True}, "log_dir must be given with tensorboard=True"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        Trainer(**settings).fit(Counter(), source())


def test_plain_progress_is_a_callback_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    Trainer(epochs=1, progress=False, callbacks=[PlainProgress()]).fit(Counter(), source())
    assert capsys.readouterr().err.startswith("epoch 1/1")
