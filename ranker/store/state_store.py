"""The newest feature state, for services between two trainings.

A state is a few arrays of megabytes to gigabytes. They are written as one safetensors file, split into parts
under the keys of a new version; then a pointer to the newest version is replaced atomically. The parts of the
version before expire after a while, because services may be reading them. So do the parts of a writer that
never replaced the pointer.

A digest in the keys identifies the features of a state, so that models with other features can share one
Redis.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import redis
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from ranker.errors import DamagedStateError, StoreError
from ranker.store.eviction import dropped
from ranker.store.keys import state_key, state_part_key

Arrays = Mapping[str, NDArray[Any]]
FORMAT: Final = 1
PART_BYTES: Final = 32 * 2**20
"""Bytes of one part, which bound how long one command keeps Redis busy."""
UNFINISHED_S: Final = 3_600
"""Time until parts expire that no pointer refers to yet."""
MAX_PARTS: Final = 65_536
"""Two terabytes, which no pointer that makes sense exceeds."""
MAX_TIME_MS: Final = 253_402_300_800_000
"""Ten thousand years: what a calendar can show."""
GRACE_S: Final = 120
"""Time until the parts of a replaced version expire."""


class StatePointer(BaseModel):
    """The newest state of its kind.

    Attributes:
        digest: The `FeatureState`'s digest of its features.
        version: Identifies the parts.
        watermark_ms: Event time of the newest row that the state has seen.
        parts: Number of parts.
        size: Bytes of all parts.
        sha256: sha256 of the concatenated parts, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT
    digest: str
    version: str
    watermark_ms: int = Field(ge=0, lt=MAX_TIME_MS)
    parts: int = Field(ge=1, le=MAX_PARTS)
    size: int = Field(ge=0)
    sha256: str

    @property
    def part_keys(self) -> list[str]:
        """The keys of the parts."""
        return [state_part_key(self.digest, self.version, part) for part in range(self.parts)]


class StateStore:
    """Writes and reads feature states of one digest.

    Args:
        client: A client whose timeout suffices for commands of `PART_BYTES`.
        digest: The `FeatureState`'s digest of its features.
    """

    def __init__(self, client: redis.Redis, digest: str) -> None:
        self._client = client
        self._digest = digest

    def newest(self) -> StatePointer | None:
        """Return the pointer to the newest state; None if there is none.

        Raises:
            DamagedStateError: The key holds something else than a pointer to a state of this digest.
            StoreError: Redis does not answer.
        """
        content = self._get(state_key(self._digest))
        return None if content is None else self._parsed(content)

    def read(self, pointer: StatePointer) -> dict[str, NDArray[Any]]:
        """Read a state and verify every byte.

        Raises:
            DamagedStateError: A part is missing or was changed.
            StoreError: Redis does not answer.
        """
        parts = []
        for key in pointer.part_keys:
            part = self._get(key)
            if part is None:
                raise DamagedStateError(f"{key}: expected a part of {pointer.parts}, found none")
            parts.append(part)
        content = b"".join(parts)
        found = hashlib.sha256(content).hexdigest()
        if found != pointer.sha256:
            raise DamagedStateError(
                f"{pointer.part_keys[0]}: expected {pointer.size:,} bytes with sha256 {pointer.sha256}, "
                f"found {len(content):,} with {found}: the state was changed"
            )
        try:
            return safetensors.numpy.load(content)
        except (SafetensorError, KeyError) as error:
            raise DamagedStateError(
                f"{pointer.part_keys[0]}: expected named arrays, found {error}"
            ) from error

    def write(self, arrays: Arrays, watermark_ms: int) -> StatePointer:
        """Write a state and make it the newest.

        Args:
            arrays: The result of `FeatureState.state`.
            watermark_ms: Event time of the newest row that the state has seen.

        Raises:
            StoreError: Redis did not take it, has dropped a part of it, or did not answer, so that nobody
                knows whether it took it. The message says which.
        """
        content = memoryview(safetensors.numpy.save(dict(arrays)))
        pointer = StatePointer(
            digest=self._digest,
            version=uuid.uuid4().hex[:12],
            watermark_ms=watermark_ms,
            parts=max(1, -(-len(content) // PART_BYTES)),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        try:
            for key, part in zip(pointer.part_keys, _parts(content), strict=True):
                self._client.set(key, part, ex=UNFINISHED_S)
            self._check_held(pointer)
        except redis.RedisError as error:
            raise StoreError(
                f"expected Redis to take the feature state, found {error}; "
                "the newest one is still the one before"
            ) from error
        try:
            self._client.transaction(lambda steps: self._replace(steps, pointer), state_key(self._digest))
            self._check_held(pointer)
        except redis.RedisError as error:
            raise StoreError(
                f"{state_key(self._digest)}: expected Redis to make the feature state {pointer.version} the "
                f"newest, found {error}; it may have done so or not. The key names the newest version; "
                "the same command again does no harm"
            ) from error
        return pointer

    def _check_held(self, pointer: StatePointer) -> None:
        """Check that Redis still has what it took."""
        found = sum(int(self._client.strlen(key)) for key in pointer.part_keys)
        if found != pointer.size:
            where = state_key(self._digest)
            raise dropped("bytes", where, expected=pointer.size, found=found, client=self._client)

    def _replace(self, steps: redis.client.Pipeline, pointer: StatePointer) -> None:
        """Queue the commands that make a state the newest; they are retried if another writer is quicker."""
        content: Any = steps.get(state_key(self._digest))
        try:
            old = [] if content is None else self._parsed(content).part_keys
        except DamagedStateError:
            old = []
        steps.multi()
        for key in pointer.part_keys:
            steps.persist(key)
        steps.set(state_key(self._digest), pointer.model_dump_json())
        for key in old:
            steps.expire(key, GRACE_S)

    def _get(self, key: str) -> bytes | None:
        try:
            return cast(bytes | None, self._client.get(key))
        except redis.RedisError as error:
            raise StoreError(f"{key}: expected Redis to answer, found {error}") from error

    def _parsed(self, content: bytes) -> StatePointer:
        key = state_key(self._digest)
        try:
            pointer = StatePointer.model_validate_json(content)
        except ValidationError as error:
            raise DamagedStateError(
                f"{key}: expected a feature state's description, found {content!r:.80}"
            ) from error
        if (pointer.format_version, pointer.digest) != (FORMAT, self._digest):
            raise DamagedStateError(
                f"{key}: expected a feature state {self._digest} of format {FORMAT}, "
                f"found {pointer.digest} of format {pointer.format_version}"
            )
        return pointer


def _parts(content: memoryview) -> Iterator[memoryview]:
    for start in range(0, max(len(content), 1), PART_BYTES):
        yield content[start : start + PART_BYTES]
