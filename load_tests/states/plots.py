"""A plot of memory over a long log."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from ranker.files.whole import replacing


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw memory and keys over the rows of the long log."""
    long = report["memory"]
    saved = [one for one in long if "saved_mb" in one]
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
    millions = [one["rows"] / 1e6 for one in long]
    above.plot(
        millions, [one["grown_mb"] for one in long], color="tab:blue", label="what the process grew by"
    )
    above.plot(
        [one["rows"] / 1e6 for one in saved],
        [one["saved_mb"] for one in saved],
        color="tab:orange",
        marker="o",
        label="saved state",
    )
    above.set_ylabel("MB")
    above.set_ylim(0)
    above.legend(frameon=False)
    below.plot(millions, [one["keys"] / 1e3 for one in long], color="tab:green")
    below.set_ylabel("keys of all features, thousands")
    below.set_ylim(0)
    below.set_xlabel(f"million rows; every {report['rows'] / 1e6:.2f} million all ids are new")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=150, format="png")
