"""The texts behind hashed words of stored records, kept once each in Redis.

Records hold 64-bit hashes of ids and categories. Whoever stores a record also keeps the texts, so that
impressions can be turned back into the columns of a log. Texts of values that a request carries are in its
impression: they are dropped with it, so a caller with ever new values fills no memory.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
import redis
import redis.asyncio

from ranker.errors import StoreError
from ranker.events import QUERY_VIDEO_ID, USER_ID, VIDEO_ID
from ranker.features.hashing import hash_strings
from ranker.store.keys import texts_key

IDS: Final = frozenset({USER_ID, VIDEO_ID, QUERY_VIDEO_ID})
"""Columns whose texts are not kept: impressions name them."""
REMEMBERED: Final = 200_000
"""Words that a reader or writer remembers: some tens of MB."""
WORDS_PER_COMMAND: Final = 2_000


def queue_texts(
    pipeline: redis.client.Pipeline | redis.asyncio.client.Pipeline, seed: int, texts: Mapping[int, str]
) -> None:
    """Queue the command that keeps some texts, by word.

    Args:
        pipeline: To queue in.
        seed: Of the spec's hash.
        texts: At least one.
    """
    mapping: dict[Any, Any] = {_field(word): text for word, text in texts.items()}
    pipeline.hset(texts_key(seed), mapping=mapping)


class KnownTexts:
    """Remembers which texts were written, so that most records have none to write.

    Words that were not used for long are forgotten, and then written again.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()

    def unknown(self, texts: Mapping[int, str]) -> dict[int, str]:
        """Those that are not known to be written."""
        for word in texts:
            if word in self._known:
                self._known.move_to_end(word)
        return {word: text for word, text in texts.items() if word not in self._known}

    def written(self, words: Iterable[int]) -> None:
        """Remember that some were written."""
        for word in words:
            self._known[word] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


class Texts:
    """Reads texts.

    Args:
        client: A connected client whose answers are bytes.
        seed: Of the spec's hash.

    Attributes:
        seed: Of the spec's hash.
    """

    def __init__(self, client: redis.Redis, seed: int) -> None:
        self.seed = seed
        self._client = client
        self._key = texts_key(seed)
        self._texts: OrderedDict[int, str] = OrderedDict()

    def of(self, words: Collection[int]) -> dict[int, str]:
        """The texts of some words, by word; without those of which none is kept.

        Raises:
            StoreError: Redis does not answer.
        """
        missing = [word for word in words if word not in self._texts]
        found = {word: self._texts[word] for word in words if word in self._texts}
        for word in found:
            self._texts.move_to_end(word)
        for start in range(0, len(missing), WORDS_PER_COMMAND):
            asked = missing[start : start + WORDS_PER_COMMAND]
            try:
                answers: list[Any] = self._client.hmget(self._key, [_field(word) for word in asked])
            except redis.RedisError as error:
                raise StoreError(f"{self._key}: expected Redis to have texts, found {error}") from error
            for word, text in zip(asked, answers, strict=True):
                if text is not None:
                    found[word] = self._texts[word] = text.decode(errors="replace")
        while len(self._texts) > REMEMBERED:
            self._texts.popitem(last=False)
        return found


def by_word(texts: Iterable[str], seed: int) -> dict[int, str]:
    """Texts by the words that they are hashed to.

    Args:
        texts: Each at most `MAX_BYTES` long.
        seed: Of the spec's hash.
    """
    distinct = list(dict.fromkeys(texts))
    words = hash_strings(pa.array(distinct, pa.string()), seed=seed)
    return dict(zip(words.tolist(), distinct, strict=True))


def _field(word: int) -> bytes:
    return word.to_bytes(8, "little")
