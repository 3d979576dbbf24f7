"""One update of fine-tuning with dropout against its bare products and against torch's own dropout.

    python benchmarks/fine_tuning.py [--rounds 20]

784-500-500-2000-10, 200 cases, a fifth of the inputs and half of the hidden units dropped (Srivastava et al. 2014),
in float32 (by the library that the trainer takes) and in bfloat16. All take their turns in every round; medians.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from _measure import by_onednn, interleaved, parser, print_table, set_up
from torch import nn

from deepbelief.belief.dbn import DBN
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.networks.dropout import Dropout
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.types import Batch

SIZES, CLASSES, CASES = [784, 500, 500, 2000], 10, 200
UPDATES = 10
LIMIT = "limit: bare products"
BFLOAT16 = partial(torch.autocast, "cpu", torch.bfloat16)


def bare(dtype: torch.dtype) -> Callable[[], None]:
    """The products of a pass forward and back, into memory that is there."""
    sizes = [*SIZES, CLASSES]
    rows = [torch.rand(CASES, n).to(dtype) for n in sizes]
    to_rows = [torch.empty_like(row) for row in rows]
    weights = [torch.rand(n, m).to(dtype) for n, m in itertools.pairwise(sizes)]
    to_weights = [torch.empty_like(weight) for weight in weights]

    def run() -> None:
        for _ in range(UPDATES):
            for layer, weight in enumerate(weights):
                torch.mm(rows[layer], weight, out=to_rows[layer + 1])
                torch.mm(rows[layer].T, rows[layer + 1], out=to_weights[layer])
                if layer:
                    torch.mm(rows[layer + 1], weight.T, out=to_rows[layer])

    return run


def update(
    dropout: type[nn.Module], context: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Callable[[], None]:
    """`SupervisedProcedure.step` on a network with this kind of dropout."""
    net = UnrolledDBN.from_dbn(DBN.of_sizes(SIZES, generator=make_generator(0)), CLASSES)
    net.add_module("dropout", dropout(0.5))
    net.add_module("input_dropout", dropout(0.2))
    rule, generator = SupervisedProcedure(net), make_generator(1)
    batch = Batch(torch.rand(CASES, SIZES[0], generator=generator), torch.arange(CASES) % CLASSES)
    told = StepContext(0, 0, 0.5, generator, lambda tensors: None, context)
    rule.start(batch, generator)

    def run() -> None:
        for _ in range(UPDATES):
            rule.step(batch, told)

    return run


def main() -> None:
    """Both precisions."""
    arguments = parser(__doc__ or "", rounds=20).parse_args()
    set_up(arguments.threads)
    kinds = {"with torch's dropout": nn.Dropout, "with ours": Dropout, "without any": nn.Identity}
    for title, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        ways: dict[str, Callable[[], object]] = {LIMIT: bare(dtype)}
        ways |= {name: update(kind, nullcontext if title == "float32" else BFLOAT16) for name, kind in kinds.items()}
        if title == "float32":
            ways = {name: by_onednn(way, CASES, (SIZES[0], SIZES[1])) for name, way in ways.items()}
        print_table(f"an update in {title}", interleaved(ways, arguments.rounds), limit=LIMIT, per=UPDATES)


if __name__ == "__main__":
    main()
