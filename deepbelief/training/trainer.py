"""The one loop: it knows procedures and batches, and neither models nor what a gradient is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepbelief.errors import DivergenceError, InvalidDataError, check, check_choice, check_count, check_range
from deepbelief.maths.float32 import quick_float32
from deepbelief.native.memory import keep_freed_memory
from deepbelief.protocols import BatchSource, Procedure, StepContext
from deepbelief.rng import make_generator
from deepbelief.training import checkpoint
from deepbelief.training.averaging import Averaging
from deepbelief.training.callbacks import Callback
from deepbelief.training.cores import fair_share
from deepbelief.training.divergence import Guard
from deepbelief.training.interrupts import Interrupts
from deepbelief.training.logs import observers
from deepbelief.training.processes import Processes, connect
from deepbelief.training.record import Meter, TrainingRecord, combined_means
from deepbelief.training.running_statistics import average_statistics, running_statistics
from deepbelief.types import Batch

AGREE_EVERY = 8  # with several processes: steps between two agreements on the clock and on stopping


class Trainer:
    """Runs a procedure over a source of batches until the first of `epochs`, `max_steps` and `max_seconds` is reached.

    Parameters
    ----------
    device, precision, devices, strategy
        See `deepbelief.training.processes.connect`. Under ``torchrun`` the trainer joins its processes by itself.
    callbacks
        See `deepbelief.training.callbacks`.
    checkpoint_dir, checkpoint_every
        Where and how often checkpoints are written: ``("epoch", 1)``, ``("step", 500)`` or ``500`` (steps). One is
        always written at the end and on Ctrl-C. Resuming from it continues bit for bit on a CPU, unless the clock
        (`max_seconds`) drives the schedules.
    monitor, monitor_mode
        A number of the history; the checkpoint of its best epoch is kept as ``best.safetensors`` too.
    seed
        Drives every draw of the training, dropout's included; None takes fresh entropy. The caller's global random
        stream is left as it was.
    averaging
        Decay of an exponential moving average of the parameters, such as 0.999: the module holds the average when
        `fit` returns.
    progress, log_dir, tensorboard
        A progress bar on a terminal (``"plain"`` for one line per epoch); ``log.csv`` and TensorBoard's files there.
    check_every
        Steps between two checks for divergence, beside that at every epoch's end.
    threads
        CPU threads for the training; None takes torch's setting, or as many as there are cores for if these are fewer
        (a container's quota, ``taskset`` and further processes of this training counted). More than that is warned of.
    """

    def __init__(
        self,
        *,
        epochs: int | None = None,
        max_steps: int | None = None,
        max_seconds: float | None = None,
        device: str = "auto",
        precision: str = "fp32",
        devices: int | str = "auto",
        strategy: str = "auto",
        callbacks: Sequence[Callback] = (),
        checkpoint_dir: str | Path | None = None,
        checkpoint_every: int | tuple[str, int] = ("epoch", 1),
        monitor: str | None = None,
        monitor_mode: str = "min",
        seed: int | None = 0,
        progress: bool | str = True,
        averaging: float | None = None,
        log_dir: str | Path | None = None,
        tensorboard: bool = False,
        check_every: int = 100,
        threads: int | None = None,
    ) -> None:
        limits = {"epochs": epochs, "max_steps": max_steps, "max_seconds": max_seconds}
        check(
            any(value is not None for value in limits.values()),
            "epochs, max_steps or max_seconds must be given. Got none. Use Trainer(epochs=10), for example.",
        )
        for name, value in (limits | {"check_every": check_every, "threads": threads}).items():
            if value is not None:
                check_any = check_range if name == "max_seconds" else check_count
                check_any(name, value, low=0 if name in limits else 1)
        check_choice("monitor_mode", monitor_mode, ["min", "max"])
        self.every = ("step", checkpoint_every) if isinstance(checkpoint_every, int) else checkpoint_every
        check_choice("checkpoint_every", self.every[0], ["epoch", "step"])
        check_count("checkpoint_every", self.every[1], low=1)
        check(
            monitor is None or checkpoint_dir is not None,
            f"checkpoint_dir must be given with a monitor. Got monitor={monitor!r}. Say where the best one is kept.",
        )
        self.epochs, self.max_steps, self.max_seconds = epochs, max_steps, max_seconds
        self.device, self.precision, self.devices, self.strategy = device, precision, devices, strategy
        self.callbacks = list(callbacks)
        self.checkpoint_dir = None if checkpoint_dir is None else Path(checkpoint_dir)
        self.monitor, self.monitor_mode = monitor, monitor_mode
        self.seed, self.progress, self.averaging = seed, progress, averaging
        self.log_dir, self.tensorboard = log_dir, tensorboard
        self.check_every, self.threads = check_every, threads
        self.record = TrainingRecord()
        self._stop_request, self._stop_reason = "", ""

    def fit(
        self, procedure: Procedure, source: BatchSource, *, resume_from: str | Path | None = None
    ) -> TrainingRecord:
        """Train ``procedure.module`` and return the record.

        `resume_from` is a checkpoint or its folder: training goes on from there as if it had never stopped.
        Raises `DivergenceError` (the module then holds its last good weights), `StorageError`, and `KeyboardInterrupt`
        after a Ctrl-C was served: the checkpoint is written and ``trainer.record`` is complete.
        """
        self._prepare(procedure, source)
        keep_freed_memory()
        with self._surroundings() as interrupts:
            try:
                if resume_from is not None:
                    checkpoint.load(self, resume_from)
                self._start(fresh=resume_from is None)
                while not self._finished(interrupts):
                    self._run_epoch(interrupts)
                self._finish()
            finally:
                for callback in self._all_callbacks:
                    callback.close()
        if self.record.stop_reason == "interrupted":
            raise KeyboardInterrupt(f"Interrupted after step {self.step}. {self._resume_hint()}".strip())
        return self.record

    @property
    def rank(self) -> int:
        """Which of the processes this is; 0 is the one that writes."""
        return self.processes.rank

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier parts of a resumed training included."""
        return self.seconds_before + time.perf_counter() - self._clock_start

    def request_stop(self, reason: str) -> None:
        """Stop after this step (or epoch), with `reason` in the record; for callbacks."""
        self._stop_request = self._stop_request or reason

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Inside, the module holds the averaged weights; without averaging, nothing changes."""
        return nullcontext() if self.averaged is None else self.averaged.in_place()

    def _prepare(self, procedure: Procedure, source: BatchSource) -> None:
        if len(source) == 0:
            raise InvalidDataError("source must have at least one batch. Got none. Give it at least one case.")
        self.processes: Processes = connect(self.device, self.precision, self.devices, self.strategy)
        self.procedure, self.source = procedure, source
        self.module: nn.Module = procedure.module
        self.module.to(self.processes.device)
        self._statistics = running_statistics(self.module) if self.processes.world_size > 1 else []
        stream = 1000 + 10 * self.rank  # below 1000 is for the callers' own uses of the seed
        self.generator = make_generator(self.seed, self.processes.device, stream=stream)
        self.data_generator = make_generator(self.seed, getattr(source, "device", "cpu"), stream=stream + 1)
        self._global_seed = make_generator(self.seed, stream=stream + 2).initial_seed()
        self.n_batches: int = count(self.processes.world_size) if (count := _counter(source)) else len(source)
        self.epoch = self.batch = self.step = 0
        self.best: float | None = None
        self.seconds_before, self._clock_start, self._clock = 0.0, time.perf_counter(), 0.0
        self.meter, self.record = Meter(), TrainingRecord()
        self.averaged = None if self.averaging is None else Averaging(self.module, self.averaging)
        self._guard = Guard(self.module)
        self._stop_request, self._stop_reason = "", ""
        self._saved_at = -1
        self._observers = observers(self.progress, self.log_dir, self.tensorboard) if self.rank == 0 else []
        self._all_callbacks = [*self.callbacks, *self._observers]

    @contextmanager
    def _surroundings(self) -> Iterator[Interrupts]:
        """Our own global random stream, thread count, float32 products and Ctrl-C; the caller's come back after."""
        device, threads = self.processes.device, torch.get_num_threads()
        gpus = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
        rows = self.source.n_cases / len(self.source) / self.processes.world_size
        products = quick_float32(self.module, rows)
        with torch.random.fork_rng(devices=gpus), products, Interrupts() as interrupts:
            torch.manual_seed(self._global_seed)
            self._set_threads(threads)
            try:
                yield interrupts
            finally:
                torch.set_num_threads(threads)

    def _set_threads(self, usual: int) -> None:
        if self.processes.device.type != "cpu":
            torch.set_num_threads(self.threads or usual)
            return
        share = fair_share(self.processes.world_size)
        if self.threads is not None and self.threads > share and self.rank == 0:
            warnings.warn(
                f"threads should be at most {share}, the cores that each process of this training can have here. Got "
                f"threads={self.threads}: some will wait for others. Lower it, or leave it None.",
                RuntimeWarning,
                stacklevel=2,
            )
        torch.set_num_threads(min(usual, share) if self.threads is None else self.threads)

    def _start(self, *, fresh: bool) -> None:
        self._clock_start = time.perf_counter()
        self._clock = self.processes.share(self.seconds)
        if fresh:
            world = self.processes.world_size
            self._align()
            preview = _copy(self.data_generator)
            batches = self.source.batches(0, generator=preview, rank=self.rank, world_size=world)
            first = next(iter(batches)).to(self.processes.device)
            self.procedure.start(first, self.generator, rank=self.rank, world_size=world)
            self._align()
        self._guard.keep(self.step)
        for callback in self._all_callbacks:
            callback.on_start(self)

    def _align(self) -> None:
        """Every process begins with the first one's weights, whatever its own share of the data suggests."""
        if self.processes.world_size > 1:
            self.module.load_state_dict(self.processes.share(dict(self.module.state_dict())))

    def _run_epoch(self, interrupts: Interrupts) -> None:
        batches = self.source.batches(
            self.epoch,
            start=self.batch,
            generator=self.data_generator,
            rank=self.rank,
            world_size=self.processes.world_size,
        )
        for batch in batches:
            self._run_step(batch.to(self.processes.device))
            if self.batch == self.n_batches:
                self._end_epoch()
                return
            if self.step % self.check_every == 0:
                self._check_divergence()
            if self.every[0] == "step" and self.step % self.every[1] == 0:
                self._save()
            if self._finished(interrupts):
                return
        raise InvalidDataError(
            f"source must yield the {self.n_batches} batches per epoch that it promises. Got {self.batch} in epoch "
            f"{self.epoch}."
        )

    def _run_step(self, batch: Batch) -> None:
        n = len(batch)
        context = StepContext(
            step=self.step,
            epoch=self.epoch,
            progress=self.fraction,
            generator=self.generator,
            average=partial(self.processes.average, weight=self._share(batch)),
            autocast=self.processes.autocast,
            rank=self.rank,
            world_size=self.processes.world_size,
        )
        try:
            metrics = self.procedure.step(batch, context)
        except DivergenceError as error:
            self._guard.restore()
            raise DivergenceError(f"{error} {self._guard.aftermath(self.record.checkpoint)}") from error
        average_statistics(self._statistics, context.average)
        self.step += 1
        self.batch += 1
        self.record.cases += n
        self.meter.add(metrics, n)
        if self.averaged is not None:
            self.averaged.update()
        for callback in self._all_callbacks:
            callback.on_step_end(self)

    def _share(self, batch: Batch) -> float:
        """What this process's part of the batch weighs in a mean over all processes."""
        if self.processes.world_size == 1 or batch.weight is None:
            return float(len(batch))
        return float(batch.weight.sum())

    def _end_epoch(self) -> None:
        row = self._row()
        self._check_divergence()
        self.epoch, self.batch = self.epoch + 1, 0
        self.meter.clear()
        training = self.module.training
        self.module.eval()
        for callback in self._all_callbacks:
            callback.on_epoch_end(self, row)
        self.module.train(training)
        self.record.history.append(row)
        self._guard.keep(self.step)
        improved = self._improved(row)
        unit, every = self.every
        if improved or (self.epoch % every == 0 if unit == "epoch" else self.step % every == 0):
            self._save((checkpoint.LATEST, checkpoint.BEST) if improved else (checkpoint.LATEST,))

    def _row(self) -> dict[str, Any]:
        means = combined_means(self.processes.gather(self.meter.totals()))
        return {"epoch": self.epoch + 1, "step": self.step, "seconds": round(self.seconds, 3), **means}

    def _improved(self, row: dict[str, Any]) -> bool:
        if self.monitor is None or self.monitor not in row:
            return False
        value, sign = float(row[self.monitor]), 1 if self.monitor_mode == "min" else -1
        if self.best is not None and sign * value >= sign * self.best:
            return False
        self.best = value
        return True

    @property
    def fraction(self) -> float:
        """How much of the plan is done, from 0 to 1."""
        plans = [
            self.step / (self.epochs * self.n_batches) if self.epochs else 0.0,
            self.step / self.max_steps if self.max_steps else 0.0,
            self._clock / self.max_seconds if self.max_seconds else 0.0,
        ]
        return min(1.0, max(plans))

    def _finished(self, interrupts: Interrupts) -> bool:
        """Whether to stop, and why; the processes agree on it, since they must all stop at one step."""
        planned = ""
        if self.epochs is not None and self.epoch >= self.epochs:
            planned = "epochs"
        if self.max_steps is not None and self.step >= self.max_steps:
            planned = "max_steps"
        agreeing = planned or self.batch == 0 or self.step % AGREE_EVERY == 0
        if agreeing or self.processes.world_size == 1:
            late = self.max_seconds is not None and self.seconds >= self.max_seconds
            wish = "interrupted" if interrupts.requested else self._stop_request or ("max_seconds" if late else "")
            answers = self.processes.gather([wish, self.seconds])
            self._clock = answers[0][1]
            wishes = [answer for answer, _ in answers if answer]
            self._stop_reason = "interrupted" if "interrupted" in wishes else (wishes or [planned])[0]
        return bool(self._stop_reason)

    def _check_divergence(self) -> None:
        fault = self._guard.fault({name: total / n for name, (total, n) in self.meter.totals().items()})
        if self.processes.any(bool(fault)):
            self._guard.restore()
            fault = fault or "another process met numbers that are not finite"
            raise self._guard.error(fault, self.step, self.procedure, self.record.checkpoint)

    def _save(self, names: tuple[str, ...] = (checkpoint.LATEST,)) -> None:
        if self.checkpoint_dir is not None:
            self._check_divergence()
            self.record.checkpoint = checkpoint.save(self, names)
            self._saved_at = self.step

    def _finish(self) -> None:
        self._check_divergence()
        if self._saved_at != self.step and self.step > 0:
            self._save()
        self.record.stop_reason, self.record.seconds = self._stop_reason, self.seconds
        self.record.epochs, self.record.steps = self.epoch, self.step
        if self.batch and self._stop_reason != "interrupted":
            self._add_part_of_an_epoch()
        if self.averaged is not None and self.step > 0:
            self.averaged.settle()
        self.module.eval()
        for callback in self._all_callbacks:
            callback.on_end(self)

    def _add_part_of_an_epoch(self) -> None:
        """The last row of a training that was planned to end within an epoch; a resumed one never has it."""
        row = self._row() | {"epoch": self.epoch + self.batch / self.n_batches}
        for callback in self._observers:
            callback.on_epoch_end(self, row)
        self.record.history.append(row)

    def _resume_hint(self) -> str:
        path = self.record.checkpoint
        return f"Continue with resume_from={str(path)!r}." if path is not None else ""


def _counter(source: BatchSource) -> Callable[[int], int] | None:
    """Some sources drop a last batch that is too small to share, so their count depends on the processes."""
    return getattr(source, "n_batches", None)


def _copy(generator: torch.Generator) -> torch.Generator:
    """A second generator in the same state, to look ahead without moving the first."""
    twin = torch.Generator(device=generator.device)
    twin.set_state(generator.get_state())
    return twin
