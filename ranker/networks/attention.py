"""Target attention: the candidate decides how much each entry of the viewer's history counts.

Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, arXiv 1706.06978.

Shape letters: R rows, H histories, E entries of a history, W width of an embedding, K hidden units.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

HIDDEN: Final = 16
"""Hidden units of an activation unit."""


class ActivationUnit(nn.Module):
    """A sum of a history's entries, each weighted by a small network that reads the entry and the candidate.

    The network reads entry e, candidate c, e * c and e - c. Its first layer is linear in all four, so the
    difference needs no weights of its own. The product with c is taken once per candidate, with the weights
    and not with the entries: W_e e + W_p (e * c) = (W_e + W_p diag(c)) e.

    As in DIN, the weights are not normalised: several relevant entries add up to more than one of them, and
    an empty history gives zeros. Initially the output is near the mean of a full history. DIN's Dice is
    replaced by a ReLU, because Dice makes a prediction depend on the rest of its batch.

    Args:
        width: W.
        length: E of a full history.
    """

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.candidate = nn.Linear(width, HIDDEN)
        bound = 1 / math.sqrt(width)
        self.entry = nn.Parameter(torch.empty(width, HIDDEN).uniform_(-bound, bound))
        self.product = nn.Parameter(torch.empty(width, HIDDEN).uniform_(-bound, bound))
        self.output = nn.Linear(HIDDEN, 1)
        nn.init.constant_(self.output.bias, 1 / length)

    @property
    def multiplications(self) -> int:
        """Multiplications per candidate, with nothing reused between candidates."""
        width = len(self.entry)
        return (self.length + 2) * width * HIDDEN + self.length * (HIDDEN + width)

    def forward(self, entry_hew: Tensor, there_he: Tensor, candidate_rw: Tensor, history_r: Tensor) -> Tensor:
        """Attend to each row's history.

        Args:
            entry_hew: (H, E, W) embeddings of the entries.
            there_he: (H, E) bool, whether the history has such an entry.
            candidate_rw: (R, W) embeddings of the candidates.
            history_r: (R,) int64, index of the row's history.

        Returns:
            (R, W) float, the weighted sum of each row's history.
        """
        entry_rew, there_re = entry_hew.index_select(0, history_r), there_he.index_select(0, history_r)
        first_rwk = torch.addcmul(self.entry, candidate_rw.unsqueeze(2), self.product)
        hidden_rek = torch.baddbmm(self.candidate(candidate_rw).unsqueeze(1), entry_rew, first_rwk).relu_()
        weight_re1 = self.output(hidden_rek) * there_re.unsqueeze(2)
        pooled: Tensor = (weight_re1 * entry_rew).sum(dim=1)  # five times as fast as a batched matrix product
        return pooled
