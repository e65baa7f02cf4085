"""Settings of the service."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from serving.http.auth import ApiKey
from serving.http.hosts import LOOPBACK_NAME
from serving.logs import LogFormat


class ImpressionMode(StrEnum):
    """Whether what rankings show is written to the log of events, and whether answers wait for it."""

    SYNC = "sync"
    ASYNC = "async"
    OFF = "off"


class Seen(StrEnum):
    """What counts as seen: all that was returned, or what events of the kind `shown` report."""

    SERVED = "served"
    SHOWN = "shown"


class AtMaxEvents(StrEnum):
    """What happens when the log of events has as many entries as it may."""

    REFUSE = "refuse"
    DROP = "drop"


class ServingSettings(BaseModel):
    """Settings of one process of the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    registry: str = Field(description="The registry of bundles: a folder or an fsspec URL.")
    redis_url: str = Field(description="The Redis server with the stored features.", repr=False)
    redis_timeout_s: PositiveFloat = Field(
        0.5, description="How long a request waits for stored features before it is ranked without them."
    )
    api_keys: tuple[ApiKey, ...] = Field(
        (), description="Who may call. None: everyone who can reach the address, so only loopback is bound."
    )
    api_keys_file: Path | None = Field(
        None, description="Where the keys came from; changes of the file are taken up."
    )
    request_log: bool = Field(False, description="Whether every answer is a line in the log.")
    log_format: LogFormat = Field(LogFormat.TEXT, description="How the log is written: text or json.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names in the header Host that are accepted. None: every one with keys; without keys "
        "those of this machine alone, because another site's name may lead to this machine's address.",
    )
    max_waiting_candidates: PositiveInt = Field(
        20_000,
        description="Candidates, and thirty more for each request, that may be ahead of a ranking request "
        "in one process; further requests are refused with 503. It bounds the wait to that of some 30 "
        "requests of 500 candidates, a tenth of a second where one takes 3 ms.",
    )
    max_body_bytes: PositiveInt = Field(2 * 1024 * 1024, description="Maximum size of a request's body.")
    body_timeout_s: PositiveFloat = Field(10.0, description="How long a request's body may take to come.")
    shutdown_timeout_s: PositiveInt = Field(
        30, description="How long a service that was asked to stop works on the requests that it accepted."
    )
    model_threads: PositiveInt = Field(
        1,
        description="Threads of one matrix product. `watchnext serve` gives each of its processes its share "
        "of the cores.",
    )
    batch_candidates: PositiveInt = Field(
        512,
        description="Candidates that the model ranks together. On a CPU one request of a few hundred uses "
        "all cores, so a larger batch only makes its first request wait for its last; on CUDA 4096 is fine.",
    )
    device: str = Field("auto", description="Where the model runs: auto, cpu or cuda.")
    live_features: bool = Field(
        False,
        description="Whether features of the state follow the log of events; then states of the feature "
        "store are not taken.",
    )
    catalogue_mb: PositiveInt = Field(
        1024, description="Memory for resident videos in one process, in MB of 10^6 bytes."
    )
    impressions: ImpressionMode = Field(
        ImpressionMode.OFF,
        description="Whether what a ranking shows is written to the log of events: sync before the answer "
        "leaves, async soon after, or off.",
    )
    impressions_seen: Seen = Field(
        Seen.SERVED,
        description="What counts as seen: served, all that was returned, or shown, what events report.",
    )
    log_features: bool = Field(
        False, description="Whether impressions have what the feature state knew when they were ranked."
    )
    log_predictions: bool = Field(False, description="Whether impressions have each head's predictions.")
    max_events: PositiveInt = Field(
        1_000_000, description="Entries that the log of events may have: impressions, and calls with events."
    )
    at_max_events: AtMaxEvents = Field(
        AtMaxEvents.REFUSE,
        description="What happens when it has as many: impressions and events are refused, or the oldest "
        "are dropped, read or not.",
    )

    @property
    def has_keys(self) -> bool:
        """Whether callers need a key; a file that is empty by now lets nobody in."""
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def names(self) -> frozenset[str] | None:
        """Names that the service answers to; addresses of this machine always are. None for any."""
        if self.has_keys and not self.allowed_hosts:
            return None
        return frozenset(name.lower() for name in (LOOPBACK_NAME, *self.allowed_hosts))
