"""The peers' common code: from ids to the network's input, and from its outputs to JSON.

Shape letters: C candidates, F the network's input width, T tasks.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TASKS = ("click", "watch_time", "like", "dismiss", "rating")


class Resident:
    """The input rows of all users, videos and context values, in memory.

    Args:
        world: The folder with `resident.npz`.
    """

    def __init__(self, world: Path) -> None:
        with np.load(world / "resident.npz") as rows:
            self.users, self.queries, self.videos = rows["users"], rows["queries"], rows["videos"]
            self.hours, self.tabs = rows["hours"], rows["tabs"]
            self.pair_at_0, self.pair_at_1 = rows["pairs"]

    @property
    def width(self) -> int:
        """F, the width of the network's input."""
        return self.users.shape[1] + self.videos.shape[1] + len(self.pair_at_0)

    def input(self, body: dict[str, Any]) -> NDArray[np.float32]:
        """Return the network's input for a request, (C, F)."""
        candidates, context = body["candidates"], body["context"]
        asks = self.users[int(body["user"]["id"])] + self.queries[int(body["query_video_id"])]
        asks += self.hours[context["hour"]] + self.tabs[context["tab"]]
        scores = np.array([candidate["features"]["retrieval_score"] for candidate in candidates], np.float32)
        x = np.empty((len(candidates), self.width), np.float32)
        x[:, : len(asks)] = asks
        x[:, len(asks) : -2] = self.videos[[int(candidate["id"]) for candidate in candidates]]
        x[:, -2:] = self.pair_at_0 + scores[:, None] * (self.pair_at_1 - self.pair_at_0)
        return x

    @staticmethod
    def answer(body: dict[str, Any], output: NDArray[np.float32]) -> dict[str, Any]:
        """Turn the network's outputs, (C, T), into the best candidates with their predictions."""
        click, like, dismiss = 1 / (1 + np.exp(-output[:, [0, 2, 3]].astype(np.float64).T))
        watch_time, rating = np.expm1(output[:, 1]).clip(0), output[:, 4]
        score = (click + 0.01) * (np.log1p(watch_time) + 1) ** 0.3 * (like + 0.01) ** 0.6
        score *= rating.clip(1, 5) * (dismiss + 0.01) ** -0.6
        best = np.argsort(-score)[: body["limit"]]
        rows = np.stack([click, watch_time, like, dismiss, rating], axis=1)[best].tolist()
        return {
            "items": [
                {
                    "id": body["candidates"][index]["id"],
                    "position": position,
                    "score": score[index].item(),
                    "predictions": dict(zip(TASKS, row, strict=True)),
                }
                for position, (index, row) in enumerate(zip(best.tolist(), rows, strict=True), start=1)
            ]
        }
