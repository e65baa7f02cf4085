"""The fused embedding tables: one matrix for all features whose embeddings have the same width.

Looking up is split from the forward pass: `gather` copies the rows that a batch needs, the network works on
the copies, and their gradient tells the optimiser what to change. So neither step ever touches a row that
is not in the batch.

Shape letters: R rows of a group, M gathered rows of one table, W width of an embedding.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ranker.features.batch import Encoded, GroupInputs
from ranker.features.layout import Layout

Take = Callable[[int, int], Tensor]


class FusedEmbedding(nn.Module):
    """All embedding tables of a spec.

    Args:
        layout: Rows of each table.
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

    def rows(self, encoded: Encoded) -> dict[int, Tensor]:
        """The table rows that a batch uses.

        Returns:
            For each width, (M,) int64: group after group, single-valued features first, then bags.
        """
        parts: dict[int, list[Tensor]] = {int(width): [] for width in self.tables}
        for inputs in encoded.groups.values():
            for width, rows in inputs.singles.items():
                parts[width].append(rows.flatten())
            for bag in inputs.bags:
                parts[bag.width].append(bag.rows)
        return {width: torch.cat(rows) for width, rows in parts.items() if rows}

    def gather(self, rows: dict[int, Tensor]) -> dict[int, Tensor]:
        """Copy rows out of the tables.

        Args:
            rows: For each width, (M,) int64, as `rows` gives them.

        Returns:
            For each width, (M, W) float.
        """
        return {width: self.tables[str(width)].index_select(0, wanted) for width, wanted in rows.items()}

    def inputs(self, encoded: Encoded, gathered: dict[int, Tensor]) -> list[Tensor]:
        """Put the gathered rows in their features' places.

        Args:
            encoded: The batch.
            gathered: What `gather` returned for it.

        Returns:
            For each group, (R, F) float: embeddings by width, then bags, then numbers.
        """
        used = dict.fromkeys(gathered, 0)

        def take(width: int, count: int) -> Tensor:
            start = used[width]
            used[width] = start + count
            return gathered[width][start : start + count]

        return [self._group_input(inputs, take) for inputs in encoded.groups.values()]

    @staticmethod
    def _group_input(inputs: GroupInputs, take: Take) -> Tensor:
        parts = [
            take(width, rows.numel()).view(inputs.count, rows.shape[1] * width)
            for width, rows in inputs.singles.items()
        ]
        for bag in inputs.bags:
            embeddings = take(bag.width, len(bag.rows))
            places = torch.arange(len(bag.rows), device=embeddings.device)
            parts.append(functional.embedding_bag(places, embeddings, bag.offsets, mode="mean"))
        return torch.cat([*parts, inputs.numbers], dim=1)
