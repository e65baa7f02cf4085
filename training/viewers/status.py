"""How the viewers stand: written for whoever watches them, and read to go on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ranker.errors import FileError
from ranker.files.whole import write_whole
from training.viewers.satisfaction import Satisfaction


@dataclass(frozen=True)
class ViewerStatus:
    """Counts since the world began to live.

    Attributes:
        world_ms: The world's time.
        visits: Visits that were begun.
        pages: Those that were answered.
        unanswered: Those that were not.
        videos: Videos that were shown.
        sent: Events that the service has taken.
        rejected: Events that it has set aside.
        retries: Calls with events that had to be sent again.
        waiting: Events that viewers are about to send.
        doubled: Events that are sent twice.
        lost: Events that are never sent.
        late: Events that come late.
        shown: How satisfying the pages of the last minute were; None if there was none.
        random: How satisfying their candidates would have been in random order.
    """

    world_ms: int
    visits: int = 0
    pages: int = 0
    unanswered: int = 0
    videos: int = 0
    sent: int = 0
    rejected: int = 0
    retries: int = 0
    waiting: int = 0
    doubled: int = 0
    lost: int = 0
    late: int = 0
    shown: Satisfaction | None = None
    random: Satisfaction | None = None

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            FileError: It cannot be written.
        """
        write_whole(path, _STATUS.dump_json(self))

    @classmethod
    def read(cls, path: Path) -> "ViewerStatus | None":
        """Read it; None if there is none.

        Raises:
            FileError: It is damaged.
        """
        try:
            return _STATUS.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            found = str(error).splitlines()[0]
            raise FileError(f"{path}: expected the viewers' state, found: {found}") from error

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        document: dict[str, Any] = _STATUS.dump_python(self, mode="json")
        return document


_STATUS = TypeAdapter(ViewerStatus)
