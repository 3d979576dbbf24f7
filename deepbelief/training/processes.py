"""The processes of one training: who we are, our device, our precision, and what we tell each other.

Lightning Fabric starts or joins the processes and knows devices and precision. It takes a second to import, so a plain
float32 training in one process, which needs none of it, makes the same record without it. What travels between
processes is tensors and `deepbelief.storage` bytes: nothing is pickled.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check, check_choice
from deepbelief.storage import state_from_bytes, state_to_bytes

PRECISIONS = ("fp32", "bf16")
STRATEGIES = ("auto", "ddp")


@dataclass(frozen=True)
class Processes:
    """This process among its peers. Every method but `average` may be called with any state `storage` can hold.

    All peers must call the same methods in the same order.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext

    def average(
        self, parameters: Iterable[Tensor], weight: float = 1.0, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Replace every ``.grad`` by its mean over processes, weighted by `weight` (what its cases weigh).

        One all-reduce per dtype, of all gradients in one flat bucket. Every process must hold gradients for the same
        parameters; tensors that are no parameters may send numbers along in their ``.grad``. `meanwhile` is work for
        the time that the sums travel; it must talk to no other process, and finds the gradients as they were.
        """
        if self.world_size == 1:
            return meanwhile() if meanwhile is not None else None
        buckets: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                buckets.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        travelling = []
        for dtype, gradients in buckets.items():
            share = torch.tensor([weight], dtype=dtype, device=gradients[0].device)
            flat = torch.cat([*(g.reshape(-1) * weight for g in gradients), share])
            travelling.append((gradients, flat, dist.all_reduce(flat, async_op=True)))
        if meanwhile is not None:
            meanwhile()
        for gradients, flat, sent in travelling:
            sent.wait()
            sizes = [g.numel() for g in gradients]
            for gradient, mean in zip(gradients, (flat[:-1] / flat[-1]).split(sizes), strict=True):
                gradient.copy_(mean.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in any process."""
        if self.world_size == 1:
            return flag
        word = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(word, op=dist.ReduceOp.MAX)
        return bool(word.item())

    def gather(self, state: Any) -> list[Any]:
        """Every process's `state`, in the order of ranks, in every process."""
        if self.world_size == 1:
            return [state]
        data = torch.frombuffer(bytearray(state_to_bytes(state)), dtype=torch.uint8).to(self.device)
        sizes = [torch.zeros(1, dtype=torch.long, device=self.device) for _ in range(self.world_size)]
        dist.all_gather(sizes, torch.tensor([data.numel()], device=self.device))
        longest = max(int(size.item()) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8, device=self.device)
        padded[: data.numel()] = data
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return [
            state_from_bytes(
                part[: int(size.item())].cpu().numpy().tobytes(),
                source=f"the state of process {rank}",
                device=self.device,
            )
            for rank, (part, size) in enumerate(zip(parts, sizes, strict=True))
        ]

    def share(self, state: Any) -> Any:
        """The first process's `state`, in every process."""
        return self.gather(state if self.rank == 0 else None)[0]

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            dist.barrier()


def connect(
    device: str = "auto", precision: str = "fp32", devices: int | str = "auto", strategy: str = "auto"
) -> Processes:
    """The processes for one training: joins those of ``torchrun``, or starts `devices` of them, or is alone.

    `device` is ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. Without ``torchrun``, more
    than one device makes Fabric's launcher start the running script again once per process.
    """
    check_choice("precision", precision, PRECISIONS)
    check_choice("strategy", strategy, STRATEGIES)
    count, nodes = _layout(devices)
    accelerator, index = _accelerator(device)
    if count * nodes == 1 and precision == "fp32":
        return Processes(torch.device(accelerator) if index is None else torch.device(accelerator, index))
    chosen: int | tuple[int, ...] = count if index is None or count > 1 else (index,)
    fabric = _fabric(accelerator, chosen, nodes, "32-true" if precision == "fp32" else "bf16-mixed")
    return Processes(fabric.device, fabric.global_rank, fabric.world_size, fabric.autocast)


def joined() -> Processes:
    """The processes that are already connected, for whoever splits work over them (annealed chains); or we alone."""
    if not (dist.is_available() and dist.is_initialized()):
        return Processes(torch.device("cpu"))
    gpu = dist.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    return Processes(device, dist.get_rank(), dist.get_world_size())


def _layout(devices: int | str) -> tuple[int, int]:
    """Processes on this machine, and machines."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    if devices == "auto":
        return local, world // local
    count = int(devices) if isinstance(devices, int) or str(devices).isdigit() else 0
    check(count >= 1, f"devices must be 'auto' or an integer of at least 1. Got devices={devices!r}.")
    if world > 1 and count not in (1, local):
        raise InvalidArgumentError(
            f"devices must be {local}, as launched, or 1. Got devices={devices}. Leave devices='auto' under torchrun."
        )
    return count, (world // local if count > 1 else 1)


def _accelerator(device: str) -> tuple[str, int | None]:
    if device == "auto":
        return ("cuda" if torch.cuda.is_available() else "cpu"), None
    kind, _, index = str(device).partition(":")
    check_choice("device", kind, ["auto", "cpu", "cuda", "mps"])
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.mps.is_available()):
        raise InvalidArgumentError(f"device must be one this machine has. Got device={device!r}. Use device='auto'.")
    check(index == "" or index.isdigit(), f"device must be like 'cuda' or 'cuda:1'. Got device={device!r}.")
    return kind, int(index) if index else None


@functools.lru_cache
def _fabric(accelerator: str, devices: int | tuple[int, ...], nodes: int, precision: str) -> Any:
    """One launched Fabric per setting: greedy training calls the trainer once per layer, in the same processes."""
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=accelerator,
        devices=list(devices) if isinstance(devices, tuple) else devices,
        num_nodes=nodes,
        strategy="ddp" if (devices != 1 and not isinstance(devices, tuple)) or nodes > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric
