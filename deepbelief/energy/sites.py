"""Where the sites of a pairwise model lie in a row of numbers, and which of them are drawn together.

A site is one variable: one column of a Bernoulli or spin layer, one group of columns of a categorical one. A `Block`
is the sites of one kind and one colour; given all else they are independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.energy.graph import Graph
from deepbelief.errors import InvalidArgumentError
from deepbelief.maths.enumeration import all_digits
from deepbelief.units.base import Units
from deepbelief.units.categorical import Categorical
from deepbelief.units.side_by_side import SideBySide

Key = tuple[torch.device, torch.dtype]
SITES = ("bernoulli", "spin", "categorical")


def plain_parts(units: Units) -> list[Units]:
    """The layers of one kind that a layer is made of, in order."""
    if not isinstance(units, SideBySide):
        return [units]
    return [plain for i in range(len(units.sizes)) for plain in plain_parts(units.part(i))]


def width_of(units: Units) -> int:
    """The columns that one site of a plain layer takes."""
    return units.n_values if isinstance(units, Categorical) else 1


def of_sites(units: Units, n: int) -> Units:
    """`n` sites of the kind of a plain layer, without biases."""
    new = Categorical(n, units.n_values) if isinstance(units, Categorical) else type(units)(n)
    return new.to(units.bias)


def check_discrete(layers: Sequence[Units]) -> None:
    """Refuse continuous units, whose pairwise energy need not have a finite Z, and kinds that are no sites here."""
    for part in (part for layer in layers for part in plain_parts(layer)):
        if part.kind not in SITES:
            raise InvalidArgumentError(
                f"units must be discrete in a pairwise model: {', '.join(SITES)}. Got {part.kind} units. "
                "Use an RBM instead."
            )


@dataclass(frozen=True)
class Block:
    """Sites of one kind and one colour: their `columns` in a row, and the `units` (without biases) that draw them."""

    columns: Tensor
    place: Tensor | slice  # `columns`, as a slice where they are neighbours: then indexing copies nothing
    units: Units
    colour: int


class Layout:
    """The sites of the layers of a machine and the columns, pairs of columns and blocks that follow from a graph."""

    def __init__(self, layers: Sequence[Units], graph: Graph) -> None:
        check_discrete(layers)
        self.parts = [part for layer in layers for part in plain_parts(layer)]
        self.graph = graph
        sites = [(width_of(part), i) for i, part in enumerate(self.parts) for _ in part.bases or []]
        self.widths = torch.tensor([width for width, _ in sites])
        self.part_of = torch.tensor([i for _, i in sites])
        self.first = self.widths.cumsum(0) - self.widths
        self.n_sites, self.size = len(sites), int(self.widths.sum())
        if graph.n_sites != self.n_sites:
            raise InvalidArgumentError(
                f"graph must have {self.n_sites} sites, one for each variable. Got {graph.n_sites}."
            )

    def pairs(self) -> Tensor:
        """The coupled pairs of columns, (2, p), edge by edge: all columns of one site with all of the other."""
        i, j = self.graph.edges.T
        count = self.widths[i] * self.widths[j]
        edge = self.edge_of_pair()
        inner = torch.arange(int(count.sum())) - (count.cumsum(0) - count)[edge]
        wide = self.widths[j][edge]
        return torch.stack([self.first[i][edge] + inner // wide, self.first[j][edge] + inner % wide])

    def edge_of_pair(self) -> Tensor:
        """The edge of each pair of columns: (p,)."""
        i, j = self.graph.edges.T
        return torch.repeat_interleave(torch.arange(len(i)), self.widths[i] * self.widths[j])

    def columns_of(self, sites: Tensor) -> Tensor:
        """The columns of sites of one width, in order."""
        width = int(self.widths[sites[0]])
        return (self.first[sites].unsqueeze(1) + torch.arange(width)).flatten()

    def blocks(self, key: Key) -> list[Block]:
        """The blocks in order of their colours."""
        colours = self.graph.colours()
        label = colours * len(self.parts) + self.part_of
        order = torch.argsort(label, stable=True)
        counts = torch.unique_consecutive(label[order], return_counts=True)[1]
        cache: dict[tuple[int, int], Units] = {}
        found = []
        for sites in order.split(counts.tolist()):
            part, columns = int(self.part_of[sites[0]]), self.columns_of(sites)
            if (part, len(sites)) not in cache:
                cache[part, len(sites)] = (
                    of_sites(self.parts[part], len(sites)).to(key[0], key[1]).requires_grad_(False)
                )
            apart = int(columns[-1] - columns[0]) + 1 != len(columns)
            place = columns.to(key[0]) if apart else slice(int(columns[0]), int(columns[-1]) + 1)
            found.append(Block(columns.to(key[0]), place, cache[part, len(sites)], int(colours[sites[0]])))
        return found


def log_states(blocks: Sequence[Block]) -> float:
    """The logarithm of the number of joint states of some blocks."""
    return sum(math.log(base) for block in blocks for base in block.units.bases or [])


def all_rows(blocks: Sequence[Block], size: int, key: Key, chunk: int = 1 << 13) -> Iterator[Tensor]:
    """Every joint state of some blocks, in chunks of rows of `size` numbers, zero elsewhere."""
    bases = [list(block.units.bases or []) for block in blocks]
    for digits in all_digits([base for part in bases for base in part], chunk, key[0]):
        rows = torch.zeros(len(digits), size, device=key[0], dtype=key[1])
        for block, piece in zip(blocks, digits.split([len(part) for part in bases], 1), strict=True):
            rows[:, block.place] = block.units.from_digits(piece).to(key[1])
        yield rows
