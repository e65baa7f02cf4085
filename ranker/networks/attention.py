"""Target attention: the candidate says how much each video of the viewer's history matters to it.

Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, arXiv 1706.06978.

Shape letters: R rows, H histories, E entries of one, W width of an embedding, K hidden units.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

HIDDEN: Final = 16
"""Hidden units of an activation unit."""


class ActivationUnit(nn.Module):
    """A sum of a history's entries, each weighted by a small network that sees it beside the candidate.

    The network reads entry e, candidate c, e * c and e - c. Its first layer is linear in all four, so the
    difference needs no weights of its own, and the product is taken with the weights, once a candidate, in
    place of the entries: W_e e + W_p (e * c) = (W_e + W_p diag(c)) e.

    As in DIN, the weights are not normalised: many entries that matter add up to more than one of them, and
    an empty history gives zeros. They start near the mean of a full history. In place of Dice there is a
    ReLU, since a prediction must not depend on the rest of its batch.

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
            there_he: (H, E) bool, false where a history has fewer entries.
            candidate_rw: (R, W) embeddings of the candidates.
            history_r: (R,) int64, which history is the row's.

        Returns:
            (R, W).
        """
        entry_rew, there_re = entry_hew.index_select(0, history_r), there_he.index_select(0, history_r)
        first_rwk = torch.addcmul(self.entry, candidate_rw.unsqueeze(2), self.product)
        hidden_rek = torch.baddbmm(self.candidate(candidate_rw).unsqueeze(1), entry_rew, first_rwk).relu_()
        weight_re1 = self.output(hidden_rek) * there_re.unsqueeze(2)
        pooled: Tensor = (weight_re1 * entry_rew).sum(dim=1)  # five times as fast as products of single rows
        return pooled
