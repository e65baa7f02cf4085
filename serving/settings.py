"""What the service is told when it starts."""

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from serving.http.auth import ApiKey


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
    max_waiting: PositiveInt = Field(
        32,
        description="Ranking requests that one process takes on at a time; one more is told to come back "
        "later. It bounds the wait: a request is behind at most so many others, a tenth of a second where "
        "one takes 3 ms, and it fills the largest batch of the model twice.",
    )
    max_body_bytes: PositiveInt = Field(2 * 1024 * 1024, description="Greatest size of a request's body.")
    body_timeout_s: PositiveFloat = Field(10.0, description="How long a request's body may take to come.")
    shutdown_timeout_s: PositiveInt = Field(
        30, description="How long a service that is told to stop works on what it has accepted."
    )
    model_threads: PositiveInt = Field(
        1,
        description="Threads of one matrix product. `watchnext serve` gives each of its processes its share "
        "of the cores.",
    )
    batch_candidates: PositiveInt = Field(
        512,
        description="Candidates that the model ranks together. On a CPU a request of a few hundred fills the "
        "cores by itself, so more would only make the first of a batch wait for the last; on CUDA 4096 do no "
        "harm.",
    )
    device: str = Field("auto", description="Where the model runs: auto, cpu or cuda.")
    catalogue_mb: PositiveInt = Field(
        1024, description="Memory for resident videos in one process, in MB of 10^6 bytes."
    )
