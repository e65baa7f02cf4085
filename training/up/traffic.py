"""Who uses the service: the part of `watchnext up` that may be another one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rich.console import Console

from training.sources.base import Source
from training.sources.registry import open_source
from training.sources.simulated.population import PAGE
from training.sources.simulated.world_file import LIVE_CONFIG, LIVE_DAYS, LIVE_SPEED, WorldFile
from training.sources.simulated.write import write_simulation
from training.viewers.status import ViewerStatus
from training.viewers.visits import Visits


class Traffic(Protocol):
    """A log at rest that is learned first, and those who use the service then.

    Attributes:
        name: What they are called in messages.
        ends: Whether they end by themselves, when all is done.
    """

    name: ClassVar[str]
    ends: ClassVar[bool]

    @property
    def spec(self) -> str:
        """The ranker: a preset's name or a YAML file."""

    @property
    def opened(self) -> Source:
        """Has the records of viewers and videos."""

    @property
    def follow(self) -> Mapping[str, str]:
        """Options of `train --follow` that suit them."""

    @property
    def serve(self) -> Sequence[str]:
        """Options of `serve` that suit them."""

    def prepare(self, console: Console) -> None:
        """Make what is learned first, unless it is there."""

    def arguments(self, url: str) -> list[str]:
        """The arguments of watchnext that let them use a service."""

    def status(self) -> ViewerStatus | None:
        """What is known of them; None if nothing is."""

    def example(self) -> dict[str, Any]:
        """The body of a ranking request, to be shown."""


@dataclass(frozen=True)
class SimulatedViewers:
    """The viewers of the simulated world: see `watchnext viewers`.

    Attributes:
        folder: Where the world's log and the viewers' state are.
        seed: Of the world.
        rate: Pages a second that they ask for.
        double: Share of events that are sent twice.
        lose: Share of events that are never sent.
        late: Share of events that come late.
        explore: Share of positions that have a random candidate.
        wait: How long impressions wait for feedback.
        publish_every: Time between two bundles.
    """

    folder: Path
    seed: int = 0
    rate: float = 20.0
    double: float = 0.0
    lose: float = 0.0
    late: float = 0.0
    explore: float = 0.0
    wait: str = "5s"
    publish_every: str = "30s"
    name: ClassVar[str] = "viewers"
    ends: ClassVar[bool] = False
    spec: ClassVar[str] = "simulated_live"

    @property
    def log(self) -> Path:
        """The log at rest."""
        return self.folder / "world"

    @property
    def opened(self) -> Source:
        """The world's records."""
        return open_source(str(self.log))

    @property
    def follow(self) -> Mapping[str, str]:
        """Short times, as a day of this world takes a minute."""
        return {
            "--data": str(self.log),
            "--wait": self.wait,
            "--learn-every": "5s",
            "--publish-every": self.publish_every,
            "--checkpoint-every": "10s",
        }

    @property
    def serve(self) -> Sequence[str]:
        """An app that explores reports what it has shown; else all that is returned counts as seen."""
        return ["--live-features", "--impressions-seen", "shown" if self.explore else "served"]

    @property
    def state(self) -> Path:
        """The file with the viewers' state."""
        return self.folder / "viewers.json"

    def prepare(self, console: Console) -> None:
        """Simulate the log, which ends now, unless it is there."""
        if not self.log.exists():
            rows = write_simulation(self.log, LIVE_DAYS, self.seed, LIVE_CONFIG, speed=LIVE_SPEED)
            console.print(f"the simulated world has {LIVE_DAYS} days: {rows:,} impressions")

    def arguments(self, url: str) -> list[str]:
        """See `Traffic`."""
        options = {
            "--world": self.log,
            "--url": url,
            "--state": self.state,
            "--rate": self.rate,
            "--double": self.double,
            "--lose": self.lose,
            "--late": self.late,
            "--explore": self.explore,
        }
        return ["viewers", *(str(part) for option in options.items() for part in option)]

    def status(self) -> ViewerStatus | None:
        """How the viewers stand."""
        return ViewerStatus.read(self.state)

    def example(self) -> dict[str, Any]:
        """The first visit, explained."""
        world = WorldFile.read(self.log)
        visit = Visits(world).visit(0, world.world_end_ms)
        return visit.body | {"limit": PAGE, "explain": True}
