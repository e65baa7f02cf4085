"""The fused embedding tables: one matrix for all features whose embeddings have the same width.

The lookup is separate from the forward pass: `gather` copies the rows of a batch, the network reads the
copies, and the optimiser applies their gradients to the rows. So a step reads and writes no other row.

Shape letters: R rows of a group, M gathered rows of one table, W width of an embedding.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ranker.features.batch import AttendedHistory, Encoded, GroupInputs
from ranker.features.kinds.feature import Input
from ranker.features.layout import Layout
from ranker.features.sides import Group
from ranker.networks.attention import ActivationUnit

Take = Callable[[int, int], Tensor]


class FusedEmbedding(nn.Module):
    """All embedding tables of a spec, and the attention that pools histories.

    Args:
        layout: Has the number of rows of each table, and the attended histories.
        scale: Standard deviation of the initial values.
    """

    def __init__(self, layout: Layout, scale: float) -> None:
        super().__init__()
        self.tables = nn.ParameterDict(
            {
                str(width): nn.Parameter(torch.normal(0.0, scale, (rows, width)), requires_grad=False)
                for width, rows in layout.table_rows.items()
            }
        )
        self.attention = nn.ModuleList(
            ActivationUnit(layout.width(f), f.attended_rows)
            for f in layout.inputs(Group.PAIR, Input.ATTENDED)
        )

    @property
    def multiplications(self) -> int:
        """Multiplications per candidate in the attention."""
        return sum(unit.multiplications for unit in self.attention if isinstance(unit, ActivationUnit))

    def rows(self, encoded: Encoded) -> dict[int, Tensor]:
        """Return the table rows that a batch uses.

        Returns:
            For each width, (M,) int64: group after group, single-valued features first, then bags, then
            attended histories, each with its entries, ages and candidates.
        """
        parts: dict[int, list[Tensor]] = {int(width): [] for width in self.tables}
        for inputs in encoded.groups.values():
            for width, rows in inputs.singles.items():
                parts[width].append(rows.flatten())
            for bag in inputs.bags:
                parts[bag.width].append(bag.rows)
            for history in inputs.attended:
                parts[history.width] += [
                    history.entries.flatten(),
                    history.ages.flatten(),
                    history.candidates,
                ]
        return {width: torch.cat(rows) for width, rows in parts.items() if rows}

    def gather(self, rows: dict[int, Tensor]) -> dict[int, Tensor]:
        """Copy rows out of the tables.

        Args:
            rows: For each width, (M,) int64, as returned by `rows`.

        Returns:
            For each width, (M, W) float.
        """
        return {width: self.tables[str(width)].index_select(0, wanted) for width, wanted in rows.items()}

    def inputs(self, encoded: Encoded, gathered: dict[int, Tensor]) -> list[Tensor]:
        """Concatenate the gathered rows to the input of each group.

        Args:
            encoded: The batch.
            gathered: For each width, (M, W) float, as returned by `gather`.

        Returns:
            For each group, (R, F) float: embeddings by width, then bags, attended histories and numbers.
        """
        used = dict.fromkeys(gathered, 0)

        def take(width: int, count: int) -> Tensor:
            start = used[width]
            used[width] = start + count
            return gathered[width][start : start + count]

        return [self._group_input(inputs, take) for inputs in encoded.groups.values()]

    def _group_input(self, inputs: GroupInputs, take: Take) -> Tensor:
        parts = [
            take(width, rows.numel()).view(inputs.count, rows.shape[1] * width)
            for width, rows in inputs.singles.items()
        ]
        for bag in inputs.bags:
            embeddings = take(bag.width, len(bag.rows))
            indices = torch.arange(len(bag.rows), device=embeddings.device)
            parts.append(functional.embedding_bag(indices, embeddings, bag.offsets, mode="mean"))
        if inputs.attended:  # only the pair group has attended histories
            units = zip(self.attention, inputs.attended, strict=True)
            parts += [self._attended(unit, seen, take) for unit, seen in units]
        return torch.cat([*parts, inputs.numbers], dim=1)

    @staticmethod
    def _attended(unit: nn.Module, seen: AttendedHistory, take: Take) -> Tensor:
        shape = (*seen.entries.shape, seen.width)
        entries = take(seen.width, seen.entries.numel()).view(shape)
        ages = take(seen.width, seen.ages.numel()).view(shape)
        candidates = take(seen.width, len(seen.candidates))
        pooled: Tensor = unit(entries + ages, seen.there, candidates, seen.history)
        return pooled
