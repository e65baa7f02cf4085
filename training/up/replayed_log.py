"""A log at rest, whose first part is learned and whose rest is played back, as the traffic of a loop."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson
import pyarrow as pa
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import SourceError
from ranker.event_times import time_text
from ranker.events import TIME_MS
from ranker.spec_file import load_spec
from training.replay.logged_requests import RequestReader
from training.run import RunConfig, run
from training.sources.base import Source
from training.sources.registry import open_source

ROWS_OF_EXAMPLE: Final = 64
ROWS_AT_ONCE: Final = 65_536


@dataclass(frozen=True)
class ReplayedLog:
    """Requests and feedback of a log at rest; see `watchnext replay`.

    Attributes:
        folder: What is kept.
        data: The log: a folder, file or URL.
        spec: The ranker: a preset's name or a YAML file.
        source: The kind of log; None to find out.
        speed: Event time that passes in a second, in seconds; None for as fast as the service answers.
        first: Share of the log's time that is learned before the rest is played back.
        wait: How long impressions wait for feedback, by the log's time.
        publish_every: Event time between two bundles.
    """

    folder: Path
    data: str
    spec: str
    source: str | None = None
    speed: float | None = None
    first: float = 0.2
    wait: str = "10m"
    publish_every: str = "1h"
    name: ClassVar[str] = "replay"
    ends: ClassVar[bool] = True

    @cached_property
    def opened(self) -> Source:
        """The log at rest, all of it."""
        return open_source(self.data, self.source)

    @cached_property
    def begins_ms(self) -> int:
        """The first time that is played back.

        Of a log that does not say from when to when it is, it is found by reading all of it once.

        Raises:
            SourceError: The log has no rows.
        """
        span = self.opened.time_range()
        if span is None:
            times = [batch.column(TIME_MS) for batch in self.opened.records(ROWS_AT_ONCE)]
            if not times:
                raise SourceError(f"{self.opened.name}: expected rows to play back, found none")
            span = times[0][0].as_py(), times[-1][-1].as_py()
        return (span[0] + round((span[1] - span[0]) * self.first)) // 1000 * 1000

    @property
    def follow(self) -> Mapping[str, str]:
        """The log goes by its own clock."""
        return {
            "--clock": "event",
            "--wait": self.wait,
            "--learn-every": "10m",
            "--publish-every": self.publish_every,
            "--checkpoint-every": "10s",
        }

    @property
    def serve(self) -> Sequence[str]:
        """The log says what was seen, and its features follow by its clock, not by that of arrival."""
        return ["--impressions-seen", "shown"]

    def prepare(self, console: Console) -> None:
        """Learn the first part, unless a bundle ranks already.

        The trainer that follows begins anew, and takes over once its bundles are no worse.
        """
        registry, first = Registry(str(self.folder / "registry")), self.folder / "first"
        if registry.current_or_none() is not None:
            return
        console.print(f"learning {self.opened.name} until {time_text(self.begins_ms)}", markup=False)
        config = RunConfig(load_spec(self.spec), self.opened, str(first), until_ms=self.begins_ms)
        version = run(config, console).model_version
        registry.make_current(registry.add(Registry(str(first)).contents(version)))

    def arguments(self, url: str) -> list[str]:
        """See `Traffic`."""
        options: dict[str, object] = {
            "--url": url,
            "--data": self.data,
            "--spec": self.spec,
            "--since": time_text(self.begins_ms),
            "--wait": self.wait,
            "--progress": self.folder / "replay.json",
        }
        if self.source is not None:
            options["--source"] = self.source
        if self.speed is not None:
            options["--speed"] = self.speed
        return ["replay", *(str(part) for option in options.items() for part in option)]

    def status(self) -> None:
        """Nothing is known of who is satisfied."""

    def example(self) -> dict[str, Any]:
        """The first request that is played back."""
        source = self.opened
        rows: Iterator[pa.RecordBatch] = source.records(ROWS_OF_EXAMPLE, since_ms=self.begins_ms)
        requests = RequestReader(load_spec(self.spec), source.schema, where=source.name).requests(rows)
        body: dict[str, Any] = orjson.loads(next(islice(requests, 1)).body)
        return body | {"explain": True}
