"""From a ranking to its impression: what was returned, in its order, and what it was ranked with.

Shape letters: C candidates, N videos that are returned, T tasks.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ranker.features.record import Words
from ranker.score.policy import ScorePolicy
from ranker.score.terms import Floats
from ranker.stream.impressions import Impression, ImpressionHeader
from serving.model.ranked_words import RankedWords
from serving.model.served_model import ServedModel
from serving.ranked_list import Order
from serving.requests import RankRequest
from serving.sync.impression_writer import ImpressionWriter

STEPS_TO_SEND: Final = 3
"""Turns of the event loop after which an impression is on its way to Redis."""


@dataclass(frozen=True)
class RankedRequest:
    """A request, and how it was ranked.

    Attributes:
        body: The request.
        time_ms: When it was made, Unix epoch in milliseconds.
        model: Ranked it.
        policy: The score policy.
        order: Which N videos are returned.
        predictions: (C, T) in natural units.
        words: What it was ranked with.
    """

    body: RankRequest
    time_ms: int
    model: ServedModel
    policy: ScorePolicy
    order: Order
    predictions: Floats
    words: RankedWords


class ImpressionLog:
    """Keeps what rankings show.

    Args:
        writer: Writes impressions.
        reported: Whether a video counts as seen only if an event says so.
        predictions: Whether impressions have predictions.
        features: Whether impressions have what the feature state knew.
    """

    def __init__(
        self, writer: ImpressionWriter, *, reported: bool, predictions: bool, features: bool
    ) -> None:
        self._writer = writer
        self._reported = reported
        self._predictions = predictions
        self._features = features

    async def begin(
        self, request_id: str, ranking: RankedRequest, texts: Mapping[int, str]
    ) -> "bool | asyncio.Future[bool]":
        """Begin to keep what a ranking shows; the rest of its answer can be made meanwhile.

        Args:
            request_id: Names the request.
            ranking: What it shows.
            texts: Texts behind hashed words, by word, that the request carried.

        Returns:
            For `outcome`.
        """
        content = self._impression(request_id, ranking, texts).to_bytes()
        written = self._writer.add(content, ranking.model.layouts)
        for _ in range(STEPS_TO_SEND):
            await asyncio.sleep(0)
        return written

    async def outcome(self, written: "bool | asyncio.Future[bool]", *, within_s: float) -> bool:
        """Whether it is kept; see `ImpressionWriter`.

        Args:
            written: What `begin` has returned.
            within_s: How long its answer may wait.
        """
        return await self._writer.outcome(written, within_s=within_s)

    def _impression(self, request_id: str, ranking: RankedRequest, texts: Mapping[int, str]) -> Impression:
        order, words = ranking.order, ranking.words
        candidates, rows = ranking.body.candidates, order.rows
        parts = words.request, words.candidates[rows], words.pairs[rows]
        served, of = b"", ranking.model.served_features
        keeps = self._features and not of.is_nothing
        if keeps:
            served = of.request(words.known) + of.rows(words.known, rows)
        # nothing here was made by others, and checking it would take as long as writing it
        header = ImpressionHeader.model_construct(
            request_id=request_id,
            time_ms=ranking.time_ms,
            user_id=ranking.body.user.id,
            query_video_id=ranking.body.query_video_id,
            video_ids=[candidates[row]["id"] for row in rows.tolist()],
            scores=order.scores.tolist(),
            predictions=ranking.predictions[rows].tolist() if self._predictions else None,
            layouts=ranking.model.layouts.digests,
            widths=ranking.model.layouts.widths,
            model_version=ranking.model.manifest.model_version,
            score_policy=ranking.policy.name,
            score_version=ranking.policy.version,
            state_ms=ranking.words.state_ms,
            reported=self._reported,
            texts=_needed(texts, parts),
            served=(of.digest.hex(), of.request_bytes, of.row_bytes) if keeps else None,
        )
        return Impression(header, *parts, served=served)


def _needed(texts: Mapping[int, str], parts: Iterable[Words]) -> list[str]:
    """The texts of words that are kept; a request also carries those of videos that are not returned."""
    if not texts:
        return []
    carried = np.fromiter(texts, np.uint64, len(texts))
    kept = np.isin(carried, np.concatenate([part.ravel() for part in parts]))
    return [text for text, is_kept in zip(texts.values(), kept.tolist(), strict=True) if is_kept]
