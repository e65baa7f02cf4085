"""Row-wise Adagrad for the embedding tables, which reads and writes only the rows of a batch.

Shape letters: M gathered rows of one table, U distinct rows among them, W width, R rows of the table.
"""

import torch
from torch import Tensor

from ranker.networks.embedding import FusedEmbedding

EPSILON = 1e-8


class RowwiseAdagrad:
    """Adagrad with one accumulator per row.

    Source: Naumov et al., DLRM, arXiv 1906.00091; Duchi et al., JMLR 12, 2011.

    Args:
        embedding: The tables, which are updated in place.
        learning_rate: Step size; it is divided by the root of the row's sum of squared gradients.
        damping: Initial sum of squared gradients of every row. The first steps of a row are small if its
            gradients are well below the root of this, so that one example cannot move a rare id far.
    """

    def __init__(self, embedding: FusedEmbedding, learning_rate: float, damping: float) -> None:
        self.embedding = embedding
        self.learning_rate = learning_rate
        self.damping = damping
        self.squares = {
            int(width): torch.full((len(table),), damping, device=table.device)
            for width, table in embedding.tables.items()
        }
        self.given_at = {
            width: torch.full((len(squares),), -1, device=squares.device)
            for width, squares in self.squares.items()
        }

    @torch.no_grad()
    def step(
        self, rows: dict[int, Tensor], gathered: dict[int, Tensor], batch_rows: int, number: int | None = None
    ) -> None:
        """Update the rows of a batch.

        Args:
            rows: For each width, (M,) int64 rows of the table, with repeats.
            gathered: For each width, (M, W) float, the copies of these rows with their gradients.
            batch_rows: Examples in the batch. The gradients are of their mean loss; multiplied by this, they
                do not depend on the batch size.
            number: Of the batch, if it was encoded before others: rows that were given to other ids since
                then stay as they are. None for a batch that was encoded just now.
        """
        for width, copies in gathered.items():
            if copies.grad is None:
                continue
            if number is not None:
                copies.grad[self.given_at[width][rows[width]] >= number] = 0
            used, indices = torch.unique(rows[width], return_inverse=True)
            gradient = copies.grad.new_zeros(len(used), width).index_add_(0, indices, copies.grad)
            gradient *= batch_rows
            squares = self.squares[width][used] + gradient.square().mean(dim=1)
            self.squares[width][used] = squares
            step = gradient * (self.learning_rate / (squares.sqrt() + EPSILON))[:, None]
            self.embedding.tables[str(width)].index_add_(0, used, -step)

    @torch.no_grad()
    def start_anew(self, rows: dict[int, Tensor], number: int) -> None:
        """Reset rows that now belong to other ids: zero embeddings and initial accumulators.

        Args:
            rows: For each width, int64 rows of the table, with or without repeats.
            number: Of the batch that brought the other ids; later ones have larger numbers.
        """
        for width, fresh in rows.items():
            fresh = fresh.to(self.squares[width].device)
            self.embedding.tables[str(width)][fresh] = 0
            self.squares[width][fresh] = self.damping
            self.given_at[width][fresh] = number

    def state_dict(self) -> dict[str, Tensor]:
        """For each width (R,) float32, the sums of squared gradients; (R,) int64, when rows were given."""
        return {
            **{f"squares/{width}": squares for width, squares in self.squares.items()},
            **{f"given_at/{width}": numbers for width, numbers in self.given_at.items()},
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])
