"""The log that the features learn while the service ranks, and the resulting states."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from load_tests.environment import ROOT
from load_tests.ranking.reference import WATERMARK_MS
from load_tests.ranking.world import STEP_MS, World, stream
from ranker.bundles.bundle import Bundle
from ranker.features.state.feature_state import FeatureState
from ranker.features.state.tracker import Arrays
from ranker.labels.matrix import label_matrix
from training.sources.registry import open_source

PARTS: Final = 5
PART_ROWS: Final = 7_200
"""Two hours of impressions."""
READ_ROWS: Final = 8_192


@dataclass(frozen=True)
class Ranked:
    """The time in which a state may have been ranked with.

    Attributes:
        part: Number of parts of the stream that the state has seen.
        since: `monotonic()` at which storing it began.
        until: `monotonic()` at which the service had the next one.
    """

    part: int
    since: float
    until: float


class Stream:
    """A log in parts, in each of which viewers have another taste.

    Args:
        world: The world with the users and videos.
        folder: Folder to write the log to.
    """

    def __init__(self, world: World, folder: Path) -> None:
        folder.mkdir()
        self._world, self._folder = world, folder
        pq.write_table(stream(world, PARTS * PART_ROWS), folder / "events.parquet")

    @property
    def request_ms(self) -> int:
        """The time of all requests, so that predictions depend on the state and not on the clock."""
        return self.watermark_ms(PARTS) + 1_000_000

    @staticmethod
    def watermark_ms(part: int) -> int:
        """Return the time of the last row of the first `part` parts."""
        return WATERMARK_MS + part * PART_ROWS * STEP_MS

    def write_requests(self, path: Path) -> Path:
        """Write the world's requests with their time, one per line, and return the file."""
        bodies = ({**body, "time_ms": self.request_ms} for body in self._world.requests)
        path.write_text("".join(json.dumps(body, separators=(",", ":")) + "\n" for body in bodies))
        return path

    def store(self, part: int, redis_url: str) -> None:
        """Update the stored state with the first `part` parts, with `watchnext features state`."""
        until = datetime.fromtimestamp((self.watermark_ms(part) + 1) / 1000, UTC).isoformat()
        options = ["--registry", str(self._world.registry), "--data", str(self._folder), "--until", until]
        command = [sys.executable, "-m", "watchnext", "features", "state", *options, "--redis-url", redis_url]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def states(self, bundle: Bundle) -> Iterator[Arrays]:
        """Yield the bundle's saved state, and the state after each part."""
        yield bundle.encoder.feature_state.state()
        source = open_source(str(self._folder))
        for part in range(PARTS):
            since_ms, until_ms = self.watermark_ms(part) + 1, self.watermark_ms(part + 1) + 1
            for batch in source.records(READ_ROWS, since_ms=since_ms, until_ms=until_ms):
                bundle.encoder.replay(batch, label_matrix(batch, bundle.spec.feedback))
            yield bundle.encoder.feature_state.state()

    def read_by(self, bundle: Bundle, arrays: Arrays) -> FeatureState:
        """Return a saved state as a bundle reads it at the time of the requests."""
        state = FeatureState(bundle.spec, bundle.encoder.layout)
        state.load(arrays)
        state.advance(self.request_ms)
        return state
