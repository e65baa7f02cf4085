"""AUC of fixed rows as a function of their weights, and what each viewer's rows do to it.

Shape letters: N rows, V viewers.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class WeightedAuc:
    """AUC of fixed labels and scores as a function of the rows' weights.

    Among negatives sorted by score, each positive finds where those below it and those tied with it end.

    Args:
        labels: (N,) 0 or 1, none missing.
        scores: (N,) anything that grows with the chance of a 1.
    """

    def __init__(self, labels: Floats, scores: Floats) -> None:
        positives, negatives = np.flatnonzero(labels > 0), np.flatnonzero(labels <= 0)
        self.positives = positives
        self.negatives = negatives[np.argsort(scores[negatives], kind="stable")]
        ordered = scores[self.negatives]
        self.below = np.searchsorted(ordered, scores[positives], side="left")
        self.up_to_ties = np.searchsorted(ordered, scores[positives], side="right")
        self.cumulative = np.zeros(len(negatives) + 1)  # reused by every call

    def __call__(self, weights: Floats) -> float:
        """AUC with these (N,) weights, NaN if one class has none."""
        np.cumsum(weights[self.negatives], out=self.cumulative[1:])
        positive = weights[self.positives]
        pairs = positive.sum() * self.cumulative[-1]
        if pairs == 0:
            return float("nan")
        won = self.cumulative[self.below] + self.cumulative[self.up_to_ties]
        return float(positive @ won / (2 * pairs))

    def influence(self, viewer: NDArray[np.intp]) -> Floats:
        """How far each viewer's rows move the AUC, all rows weighing 1: sums to 0.

        Their squares add up to the variance of the AUC over viewers. Sources: DeLong et al., Biometrics 44,
        1988, https://doi.org/10.2307/2531595; for rows in clusters Obuchowski, Biometrics 53, 1997,
        https://doi.org/10.2307/2533958.

        Args:
            viewer: (N,) numbers of the rows' viewers.

        Returns:
            (V,).
        """
        positives, negatives = len(self.positives), len(self.negatives)
        won = (self.below + self.up_to_ties) / (2 * negatives)  # of each positive
        # A negative wins against the positives that do not beat it; ties count half.
        lost = np.zeros(negatives + 1)
        for ends in (self.below, self.up_to_ties):
            np.add.at(lost, ends, 0.5)  # positives that beat exactly so many negatives
        beaten_by = lost[::-1].cumsum()[::-1][1:] / positives
        area = won.mean()
        influence = np.zeros(int(viewer.max()) + 1)
        np.add.at(influence, viewer[self.positives], (won - area) / positives)
        np.add.at(influence, viewer[self.negatives], (beaten_by - area) / negatives)
        return influence
