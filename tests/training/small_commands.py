"""What the tests of commands run them on, and what comes of it."""

from collections.abc import Callable

from training.sources.simulated.population import WorldConfig

WORLD = WorldConfig(viewers=60, authors=10, uploads_per_day=30, catalogue_days=2, requests_per_day=300)
NOON = "2026-01-01T12:00Z"


class Answer:
    """What a command printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


Command = Callable[..., Answer]


def small(**changes: str) -> str:
    """A spec as YAML, with lines changed."""
    lines = {
        "name": "small",
        "features": "[{name: video_id, side: candidate, kind: id}]",
        "tasks": "[{name: click, group: engagement, kind: binary}]",
        "score": "{terms: [{head: click}]}",
    }
    return "\n".join(f"{key}: {value}" for key, value in (lines | changes).items())
