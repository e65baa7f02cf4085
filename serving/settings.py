"""What the service is told when it starts."""

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class ServingSettings(BaseModel):
    """Settings of one process of the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    registry: str = Field(description="The registry of bundles: a folder or an fsspec URL.")
    redis_url: str = Field(description="The Redis server with the stored features.", repr=False)
    redis_timeout_s: PositiveFloat = Field(
        0.5, description="How long a request waits for stored features before it is ranked without them."
    )
    max_body_bytes: PositiveInt = Field(2 * 1024 * 1024, description="Greatest size of a request's body.")
    model_threads: PositiveInt = Field(
        1,
        description="Threads of one matrix product. A request's matrices are small: more threads cost more "
        "than they save, so run more processes instead.",
    )
