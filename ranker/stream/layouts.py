"""How the words of impressions are laid out, and from words back to the columns of a log.

Shape letters: R rows, W words of a record.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import redis
import redis.asyncio
from numpy.typing import NDArray

from ranker.errors import EventLogError, StoreError
from ranker.features.encoder import Encoder
from ranker.features.kinds.column import Form
from ranker.features.record import MISSING_KEY, MISSING_LIST, Part, RecordLayout, Words
from ranker.features.sides import Group, Side
from ranker.store.keys import layouts_key
from ranker.stream.texts import Texts

logger = logging.getLogger(__name__)

TYPES: Final = {
    Form.KEY: pa.string(),
    Form.NUMBER: pa.float64(),
    Form.BAG: pa.list_(pa.string()),
}
"""What the columns of each form become."""


class ImpressionLayouts:
    """How the words of a spec's impressions are laid out.

    Args:
        encoder: Of the spec.

    Attributes:
        request: Layout of the records of requests.
        videos: Layout of the records of videos.
        pairs: Layout of what a request may carry of viewer and video together: the columns of side pair.
        by_digest: The three by their digests.
        digests: Those of the three, in this order.
        widths: Words of a record of each.
        seed: Of the hash.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.seed = encoder.spec.hash_seed
        self.request = encoder.records[Group.REQUEST]
        self.videos = encoder.records[Group.CANDIDATE]
        self.pairs = RecordLayout(encoder.spec.side(Side.PAIR), seed=self.seed)
        layouts = (self.request, self.videos, self.pairs)
        self.digests = (self.request.digest, self.videos.digest, self.pairs.digest)
        self.by_digest: Mapping[str, RecordLayout] = dict(zip(self.digests, layouts, strict=True))
        self.widths = (self.request.words, self.videos.words, self.pairs.words)
        self._rows = encoder.example_records
        self._shared = [self._rows.shared_words(layout) for layout in layouts]

    def rows(self, request: Words, videos: Words, pairs: Words) -> Words:
        """Fit records of whole rows together.

        Args:
            request: (R, W) the request's record of each row.
            videos: (R, W).
            pairs: (R, W).

        Returns:
            (R, W) in the layout `example_records` of the encoder; what impressions do not have is missing.
        """
        words = self._rows.missing(len(videos))
        for (mine, theirs), given in zip(self._shared, (request, videos, pairs), strict=True):
            words[:, mine] = given[:, theirs]
        return words


def queue_layouts(
    pipeline: redis.client.Pipeline | redis.asyncio.client.Pipeline, layouts: Iterable[RecordLayout]
) -> None:
    """Queue the command that keeps how records of some layouts are to be read."""
    mapping: dict[Any, Any] = {
        layout.digest: orjson.dumps([(column, form.value, *words) for column, form, *words in layout.parts])
        for layout in layouts
    }
    pipeline.hset(layouts_key(), mapping=mapping)


class Layouts:
    """Reads how records are laid out.

    Args:
        client: A connected client whose answers are bytes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._layouts: dict[str, list[Part]] = {}

    def of(self, digest: str) -> list[Part]:
        """The parts of a layout, one a column.

        Of a column that is kept in several forms it is the one that tells most: numbers before their texts,
        the longest of several lists.

        Raises:
            EventLogError: No such layout is kept.
            StoreError: Redis does not answer.
        """
        if digest not in self._layouts:
            try:
                found: Any = self._client.hget(layouts_key(), digest)
            except redis.RedisError as error:
                raise StoreError(f"{layouts_key()}: expected Redis to have layouts, found {error}") from error
            if found is None:
                raise EventLogError(f"{layouts_key()}: expected the layout {digest}, found none")
            kept = (Part(column, Form(form), *words) for column, form, *words in orjson.loads(found))
            parts = sorted(kept, key=_tells)
            self._layouts[digest] = list({part.column: part for part in parts}.values())
        return self._layouts[digest]


def columns_of(
    parts: Iterable[Part], words: Words, texts: Texts, carried: Mapping[int, str] | None = None
) -> dict[str, pa.Array]:
    """Turn records back into columns.

    Args:
        parts: What stands where.
        words: (R, W).
        texts: Has the texts behind hashes.
        carried: Further ones, by word, that impressions carry themselves.

    Returns:
        For each column R values: text for ids and categories, float64 for numbers, lists of text for bags;
        null where missing, and where the text of a word is not kept, which is logged.

    Raises:
        StoreError: Redis does not answer.
    """
    parts = list(parts)
    hashed = [words[:, part.first] for part in parts if part.form is Form.KEY]
    for part in (part for part in parts if part.form is Form.BAG):
        inside = np.arange(part.words - 1) < _lengths(words, part)[:, None]
        hashed.append(words[:, part.first + 1 : part.first + part.words][inside])
    distinct = np.unique(np.concatenate(hashed)) if hashed else np.empty(0, np.uint64)
    distinct = distinct[distinct != MISSING_KEY]
    carried = carried or {}
    known = {**texts.of([word for word in distinct.tolist() if word not in carried]), **carried}
    found = sum(word in known for word in distinct.tolist())
    if found < len(distinct):
        lost = len(distinct) - found
        logger.error(
            "%d of %d values of impressions count as missing: Redis has no text for them; "
            "`watchnext features load` writes those of stored records",
            lost,
            len(distinct),
        )
    dictionary = pa.array([known.get(word) for word in distinct.tolist()], pa.string())

    def strings(keys: NDArray[np.uint64]) -> pa.Array:
        indices = np.searchsorted(distinct, keys)
        missing = keys == MISSING_KEY
        return dictionary.take(pa.array(np.where(missing, 0, indices), mask=missing))

    columns: dict[str, pa.Array] = {}
    for part in parts:
        if part.form is Form.NUMBER:
            numbers = np.ascontiguousarray(words[:, part.first]).view(np.float64)
            columns[part.column] = pa.array(numbers, mask=np.isnan(numbers))
        elif part.form is Form.KEY:
            columns[part.column] = strings(words[:, part.first])
        else:
            lengths = _lengths(words, part)
            inside = np.arange(part.words - 1) < lengths[:, None]
            items = strings(words[:, part.first + 1 : part.first + part.words][inside])
            kept = items.is_valid().to_numpy(zero_copy_only=False)
            owner = np.repeat(np.arange(len(words)), lengths)[kept]
            items, lengths = items.drop_null(), np.bincount(owner, minlength=len(words))
            offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
            missing = words[:, part.first] == MISSING_LIST
            columns[part.column] = pa.ListArray.from_arrays(offsets, items, mask=pa.array(missing))
    return columns


def _tells(part: Part) -> tuple[bool, int]:
    """Orders parts by how much they tell of a column."""
    return part.form is Form.NUMBER, part.words


def _lengths(words: Words, part: Part) -> NDArray[np.int64]:
    counts = words[:, part.first]
    lengths: NDArray[np.int64] = np.where(counts == MISSING_LIST, 0, counts).astype(np.int64)
    return lengths.clip(0, part.words - 1)
