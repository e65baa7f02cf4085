"""How far a log was played back, so that whoever is killed goes on without sending anything twice."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ranker.errors import CheckpointError
from ranker.files.whole import write_whole


class ReplayIdentity(BaseModel):
    """What a saved progress has to agree with.

    Attributes:
        source: The log's name.
        spec: The ranker's name.
        since_ms: First time that is included; None for no bound.
        until_ms: First time that is excluded; None for no bound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    spec: str
    since_ms: int | None
    until_ms: int | None


class ReplayProgress(BaseModel):
    """How far a log was played back.

    Attributes:
        identity: Of what.
        begin_ms: Time of the first request of which something may not have been sent yet.
        request_ids: The ids of the answers to the requests from then on, in their order.
        sent_ms: All events up to this time were sent.
        reached_ms: The time of the newest request that was answered.
        requests: Requests that were answered.
        done: Whether everything was sent.
    """

    model_config = ConfigDict(extra="forbid")

    identity: ReplayIdentity
    begin_ms: int
    request_ids: list[str]
    sent_ms: int
    reached_ms: int
    requests: int
    done: bool = False

    def save(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            FileError: The file cannot be written.
        """
        write_whole(path, self.model_dump_json().encode())

    @classmethod
    def load(cls, path: Path, identity: ReplayIdentity) -> "ReplayProgress | None":
        """Read it; None if there is none.

        Raises:
            CheckpointError: The file is damaged, or of another log, spec or time.
        """
        try:
            saved = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise CheckpointError(
                f"{path}: expected the progress of a replay, found {' '.join(str(error).split()):.200}"
            ) from error
        if saved.identity != identity:
            raise CheckpointError(
                f"{path}: expected the progress of {identity.model_dump_json()}, found that of "
                f"{saved.identity.model_dump_json()}; name another file with --progress, or begin anew with "
                "--restart"
            )
        return saved
