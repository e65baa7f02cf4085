"""Row-wise Adagrad for the embedding tables, touching only the rows of the batch.

Shape letters: M gathered rows of one table, U distinct ones among them, W width, R rows of the table.
"""

import torch
from torch import Tensor

from ranker.networks.embedding import FusedEmbedding

EPSILON = 1e-8


class RowwiseAdagrad:
    """Adagrad with one accumulator a row.

    Source: Naumov et al., DLRM, arXiv 1906.00091; Duchi et al., JMLR 12, 2011.

    Args:
        embedding: The tables, which are changed in place.
        learning_rate: Size of a step is this, divided by the root of the row's squared gradients.
        damping: Squared gradient that every row starts with: gradients well below its root take small
            steps, so that a rare id is not thrown far by its first example.
    """

    def __init__(self, embedding: FusedEmbedding, learning_rate: float, damping: float) -> None:
        self.embedding = embedding
        self.learning_rate = learning_rate
        self.damping = damping
        self.squares = {
            int(width): torch.full((len(table),), damping, device=table.device)
            for width, table in embedding.tables.items()
        }

    @torch.no_grad()
    def step(self, rows: dict[int, Tensor], gathered: dict[int, Tensor], batch_rows: int) -> None:
        """Move every row that the batch used against its gradient.

        Args:
            rows: For each width, (M,) int64 rows of the table, with repeats.
            gathered: For each width, (M, W): the copies of these rows, with their gradients.
            batch_rows: Examples in the batch. The loss is their mean; steps are sized by their sum, so that
                they mean the same in batches of any size.
        """
        for width, copies in gathered.items():
            if copies.grad is None:
                continue
            used, indices = torch.unique(rows[width], return_inverse=True)
            gradient = copies.grad.new_zeros(len(used), width).index_add_(0, indices, copies.grad)
            gradient *= batch_rows
            squares = self.squares[width][used] + gradient.square().mean(dim=1)
            self.squares[width][used] = squares
            step = gradient * (self.learning_rate / (squares.sqrt() + EPSILON))[:, None]
            self.embedding.tables[str(width)].index_add_(0, used, -step)

    @torch.no_grad()
    def start_anew(self, rows: dict[int, Tensor]) -> None:
        """Forget what rows hold, because they belong to others now: zeros, as if there had been no step.

        Args:
            rows: For each width, int64 rows of the table, repeated or not.
        """
        for width, fresh in rows.items():
            fresh = fresh.to(self.squares[width].device)
            self.embedding.tables[str(width)][fresh] = 0
            self.squares[width][fresh] = self.damping

    def state_dict(self) -> dict[str, Tensor]:
        """For each width, (R,) float32 sums of squared gradients."""
        return {str(width): squares for width, squares in self.squares.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from saved sums."""
        for width, squares in state.items():
            self.squares[int(width)].copy_(squares)
