"""The file beside a simulated log that says which world it is of, so that viewers can go on living in it.

A world may run faster than the clock: its log ends when it was written, and one of its days takes minutes.
"""

import time
from pathlib import Path
from typing import Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from ranker.errors import SourceError
from training.sources.simulated.population import DAY_MS, EPOCH_MS, Ints, WorldConfig

WORLD_FILE: Final = "world.json"
LIVE_CONFIG: Final = WorldConfig(
    viewers=500,
    authors=60,
    uploads_per_day=20,
    catalogue_days=20,
    requests_per_day=1_200,
    candidates=60,
    taste_period_days=20,
)
"""A small world whose tastes turn within weeks."""
LIVE_DAYS: Final = 12
LIVE_SPEED: Final = 1_440.0
"""A day of the live world takes a minute, and 20 requests come a second."""


class WorldFile(BaseModel):
    """A simulated world, and how its time runs beside the clock.

    Attributes:
        config: Sizes and effect strengths.
        seed: Seed of the world.
        days: Length of its log.
        speed: Seconds of the world in a second of event time.
        ended_ms: Event time at which its log ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: WorldConfig
    seed: NonNegativeInt
    days: PositiveInt
    speed: PositiveFloat = Field(1.0, allow_inf_nan=False)
    ended_ms: int

    @classmethod
    def of_log(cls, config: WorldConfig, seed: int, days: int) -> Self:
        """A world whose log has the world's own times."""
        return cls(config=config, seed=seed, days=days, ended_ms=EPOCH_MS + days * DAY_MS)

    @classmethod
    def ending_now(cls, config: WorldConfig, seed: int, days: int, speed: float) -> Self:
        """A world whose log ends now."""
        return cls(config=config, seed=seed, days=days, speed=speed, ended_ms=time.time_ns() // 1_000_000)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file of a log's folder.

        Raises:
            SourceError: There is none, or it is damaged.
        """
        path = folder / WORLD_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SourceError(
                f"{path}: expected the file that `watchnext simulate` writes beside a log, "
                f"found: {error.strerror}"
            ) from error
        except ValidationError as error:
            raise SourceError(
                f"{path}: expected a simulated world, found: {error.errors()[0]['msg']}"
            ) from error

    @property
    def world_end_ms(self) -> int:
        """When the log ends, in the world's time."""
        return EPOCH_MS + self.days * DAY_MS

    def event_ms(self, world_ms: Ints) -> Ints:
        """Event times of the log.

        Args:
            world_ms: Of any shape, in the world's time.
        """
        before_ms = np.rint((self.world_end_ms - world_ms) / self.speed).astype(np.int64)
        return np.asarray(self.ended_ms - before_ms)
