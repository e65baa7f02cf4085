"""A ranking as a table."""

from typing import Any, Final

import numpy as np
from rich import box
from rich.table import Table

SHOWN_HEADS: Final = 6


def ranked_table(body: dict[str, Any], answer: dict[str, Any]) -> Table:
    """Return a ranking as a table: each video's predictions and their contributions to the score.

    Args:
        body: The body of `POST /v1/rank`, with `explain`.
        answer: The answer's body.
    """
    items = answer["items"]
    spread = {
        head: float(np.ptp([item["contributions"][head] for item in items]))
        for head in items[0]["contributions"]
    }
    heads = sorted(sorted(spread, key=spread.__getitem__)[-SHOWN_HEADS:], key=list(spread).index)
    table = Table(
        title=f"viewer {body['user']['id']}: {len(body['candidates'])} candidates, "
        f"{answer['took_ms']:.1f} ms",
        caption="prediction, and below it its contribution to the score"
        + (f"\ndegraded: without {', '.join(answer['degraded'])}" if answer["degraded"] else "")
        + (f"\nthe {SHOWN_HEADS} heads that decide most" if len(spread) > SHOWN_HEADS else ""),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
    )
    for name in ("", "video", "score", *(head.replace("_", "_\n") for head in heads)):
        table.add_column(name, justify="right", no_wrap=True)
    for item in items:
        cells = [
            f"{_short(item['predictions'][head])}\n[dim]{item['contributions'][head]:+.2f}[/]"
            for head in heads
        ]
        table.add_row(str(item["position"]), item["id"], f"{item['score']:.3f}", *cells)
    return table


def _short(prediction: float) -> str:
    return f"{prediction:.2g}" if abs(prediction) < 1 else f"{prediction:.1f}"
