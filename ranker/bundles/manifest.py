"""A bundle's description of itself."""

import hashlib
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field

from ranker.bundles.verdict import Verdict

FORMAT_VERSION: Final = 4
"""Incremented when an older watchnext cannot read the bundles of a newer one."""


class Manifest(BaseModel):
    """The bundle's description, and the checksums of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    model_version: str = Field(description="Unique: the name, the watermark, and a hash of the contents.")
    name: str = Field(description="The spec's name.")
    parent: str | None = Field(None, description="The version that was current when this one was made.")
    created_ms: int = Field(description="When it was made, Unix epoch in milliseconds.")
    watermark_ms: int | None = Field(description="Event time of the newest example it learned from.")
    since_ms: int | None = Field(None, description="First event time of its training; null for no bound.")
    until_ms: int | None = Field(None, description="First event time after its training; null for no bound.")
    rows: int = Field(description="Examples it learned from.")
    source: str = Field(description="Where they came from.")
    metrics: dict[str, dict[str, float | None]] = Field(
        default_factory=dict, description="Progressive metrics of each head over the whole training."
    )
    gate: Verdict | None = Field(
        None, description="What was found before it was to rank; null if it was not compared."
    )
    files: dict[str, str] = Field(description="sha256 of every file.")
    digest: str = Field("", description="sha256 of the manifest's file with an empty digest.")

    @property
    def held_back(self) -> bool:
        """Whether it was not to rank."""
        return self.gate is not None and not self.gate.passed

    def sealed(self) -> Self:
        """Return the manifest with its digest."""
        bare = self.model_copy(update={"digest": ""})
        return bare.model_copy(update={"digest": bare.expected_digest(bare.to_json())})

    def to_json(self) -> bytes:
        """Return the content of `manifest.json`."""
        return self.model_dump_json(indent=2).encode()

    def expected_digest(self, content: bytes) -> str:
        """Return the sha256 of a manifest's content with an empty digest."""
        return sha256(content.replace(self.digest.encode(), b""))


def sha256(content: bytes) -> str:
    """Return the sha256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
