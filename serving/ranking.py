"""Ranking one request: check, fetch features, predict, score, list."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Final

from ranker.did_you_mean import did_you_mean
from ranker.errors import EvictedError, FeatureError, InvalidRequestError, Mistake, StoreError
from ranker.events import USER_ID, VIDEO_ID
from ranker.features.record import RecordLayout, Words
from ranker.stream.texts import IDS
from serving.http.deadline import Arrival
from serving.http.json_pointer import json_pointer
from serving.http.metrics import Metrics, Phase
from serving.http.mistakes import Mistakes
from serving.http.turns import Turns
from serving.impressions import ImpressionLog, RankedRequest
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.ranked_words import RankedWords
from serving.model.request_features import expected_columns, without_location
from serving.model.request_time import StateAges, request_time
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker
from serving.ranked_list import chosen_policy, ranked_items, ranked_order
from serving.requests import RankRequest, RecordInput
from serving.sync.feature_store import FeatureStore
from serving.sync.hot_swap import HotSwap

READY_S: Final = 1.0
"""A thread that ranks begins something new within milliseconds."""
READ_FRACTION: Final = 0.5
"""Fraction of the time left to a request that it waits for the store; the rest is for ranking without."""


class RankingService:
    """Ranks candidates for one viewer, and takes records of viewers and videos.

    Args:
        models: Has the model that ranks now.
        worker: Runs it.
        store: Has the stored features.
        metrics: Records the time of every phase.
        turns: Given to one request after the other while the event loop works on what it carries.
        impressions: Keeps what rankings show; None to keep nothing.
    """

    def __init__(
        self,
        models: HotSwap,
        worker: ModelWorker,
        store: FeatureStore,
        metrics: Metrics,
        turns: Turns | None = None,
        impressions: ImpressionLog | None = None,
    ) -> None:
        self._models = models
        self._worker = worker
        self._store = store
        self._metrics = metrics
        self._state_ages = StateAges()
        self._turns = turns or Turns()
        self._impressions = impressions

    @property
    def model(self) -> ServedModel:
        """The model that ranks now."""
        return self._models.model

    @property
    def refused_version(self) -> str | None:
        """The registry's current version, if another one ranks in its place."""
        return self._models.refused

    async def rank(self, body: RankRequest, arrival: Arrival) -> dict[str, Any]:
        """Rank the candidates of one request; the whole answer is from one model.

        Args:
            body: The request.
            arrival: When it arrived, its deadline and its place.

        Returns:
            A `RankResponse` as plain values.

        Raises:
            InvalidRequestError: It names a score policy or carries columns that the model does not have,
                values of the wrong type, a candidate twice, or a time that is not plausible.
            DeadlinePassedError: It could not be ranked in time.
            ModelError: The model failed.
        """
        arrival.check()
        model = self.model
        policy = chosen_policy(model.policies, body)
        time_ms = request_time(body.time_ms, model)
        texts: dict[int, str] | None = None if self._impressions is None else {}
        features = await self._turns.take(arrival.place, model.reader.steps(body, texts))
        checked = self._phase("validate", arrival.started)
        request = EncodedRequest(
            body.query_video_id,
            [candidate["id"] for candidate in body.candidates],
            features,
            FetchedRecords(),
            time_ms,
            None if self._impressions is None else RankedWords(),
        )
        missing = model.catalogue.missing(request.video_ids)
        self._metrics.catalogue(len(request.video_ids) - len(missing), len(missing))
        fetched, degraded = await self._fetch(model, body.user.id, missing, arrival)
        submitted = self._phase("features", checked)
        first_attempt_s = 0.0
        try:
            predictions, waited_s = await self._worker.predict(
                model, replace(request, fetched=fetched), arrival.deadline, arrival.place
            )
        except EvictedError:
            evicted = perf_counter()
            first_attempt_s = evicted - submitted
            fetched, degraded = await self._fetch(model, body.user.id, request.video_ids, arrival)
            submitted = self._phase("features", evicted)
            predictions, waited_s = await self._worker.predict(
                model, replace(request, fetched=fetched), arrival.deadline, arrival.place
            )
        self._metrics.phase("queue", first_attempt_s + waited_s)
        predicted = self._phase("model", submitted + waited_s)
        order = ranked_order(body, predictions, policy)
        written: bool | asyncio.Future[bool] = True
        if self._impressions is not None and request.words is not None:
            ranking = RankedRequest(body, time_ms, model, policy, order, predictions, request.words)
            written = await self._impressions.begin(arrival.request_id, ranking, texts or {})
        items = ranked_items(body, [task.name for task in model.spec.tasks], predictions, order)
        done = self._phase("score", predicted)
        if self._impressions is not None:
            within_s = (arrival.deadline - done) * READ_FRACTION
            if not await self._impressions.outcome(written, within_s=within_s):
                degraded = [*degraded, "impressions"]
            done = self._phase("impression", done)
        self._metrics.candidates(len(request.candidate_ids))
        state_age = self._state_ages.at(time_ms, model)
        return {
            "request_id": arrival.request_id,
            "model_version": model.manifest.model_version,
            "score_policy": policy.name,
            "score_version": policy.version,
            "took_ms": round((done - arrival.started) * 1000, 3),
            "unknown": _unknown(body, fetched),
            "degraded": degraded,
            "state_age_s": state_age.seconds,
            "state_stale": state_age.stale,
            "items": items,
        }

    async def put_user(self, record: RecordInput) -> None:
        """Store a viewer's features in place of what is there.

        Raises:
            InvalidRequestError: The model has no such column, or a value has the wrong type.
            StoreError: Redis does not answer.
        """
        layout = self.model.user_records
        words, texts = _record(layout, record, USER_ID, frozenset(self.model.spec.user_columns))
        await self._store.write_user(layout, record.id, words, texts)

    async def put_video(self, record: RecordInput) -> None:
        """Store a video's features in place of what is there; every service takes them up.

        Raises:
            InvalidRequestError: The model has no such column, or a value has the wrong type.
            StoreError: Redis does not answer.
        """
        layout = self.model.catalogue.layout
        words, texts = _record(layout, record, VIDEO_ID, frozenset(self.model.spec.video_columns))
        await self._store.write_video(layout, record.id, words, texts)

    async def delete_user(self, user_id: str) -> None:
        """Forget a viewer; every service does within two seconds.

        Raises:
            StoreError: Redis does not answer.
        """
        await self._store.delete_user(user_id)

    async def delete_video(self, video_id: str) -> None:
        """Forget a video; every service does within two seconds.

        Raises:
            StoreError: Redis does not answer.
        """
        await self._store.delete_video(video_id)

    async def ready(self) -> bool:
        """Whether the model's thread ranks: it does what it is given within a bounded time."""
        try:
            async with asyncio.timeout(READY_S):
                await self._worker.call(lambda: None)
        except TimeoutError:
            return False
        return True

    async def store_answers(self) -> bool:
        """Whether the feature store answers."""
        try:
            await self._store.ping()
        except StoreError:
            return False
        return True

    async def _fetch(
        self, model: ServedModel, user_id: str | None, video_ids: Sequence[str], arrival: Arrival
    ) -> tuple[FetchedRecords, list[str]]:
        """Read a viewer and some videos from the store; also return the answer's `degraded`."""
        arrival.check()
        asked_ids = frozenset(video_ids)
        time_s = (arrival.deadline - perf_counter()) * READ_FRACTION
        try:
            user, videos, complete = await self._store.read(
                model.user_records, user_id, model.catalogue.layout, asked_ids, within_s=time_s
            )
        except StoreError:
            return FetchedRecords(asked_ids=asked_ids, complete=False), ["feature_store"]
        return FetchedRecords(user, asked_ids, videos, complete), [] if complete else ["stored_features"]

    def _phase(self, phase: Phase, since: float) -> float:
        now = perf_counter()
        self._metrics.phase(phase, now - since)
        return now


def _record(
    layout: RecordLayout, record: RecordInput, id_column: str, columns: frozenset[str]
) -> tuple[Words, dict[int, str]]:
    """A record's words, (1, W), and the texts behind them, but for the id."""
    mistakes = Mistakes()
    if unknown := [name for name in record.features if name not in columns]:
        detail = expected_columns(columns)
        for name in unknown:
            meant = did_you_mean(name, columns) if mistakes.are_named else ""
            mistakes.add(("features", name), detail + meant)
        raise mistakes.error()
    try:
        return layout.of_rows_with_texts([{**record.features, id_column: record.id}], without=IDS)
    except FeatureError as error:
        path = ("id",) if error.feature == id_column else ("features", error.feature)
        raise InvalidRequestError([Mistake(json_pointer(path), without_location(error))]) from error


def _unknown(body: RankRequest, fetched: FetchedRecords) -> dict[str, Any]:
    """Who has features neither in the store nor in the request, in the request's order; see `Unknown`."""
    missing = {video_id for video_id in fetched.asked_ids if video_id not in fetched.videos}
    videos: list[str] = []
    if missing:
        videos = [c["id"] for c in body.candidates if c["id"] in missing and not c.get("features")]
        query = body.query_video_id
        if query in missing and not body.query_features and query not in videos:
            videos.append(query)
    user = fetched.user is None and not body.user.features
    if fetched.complete:
        return {"user": user, "videos": videos}
    return {"user": None if user else False, "videos": [], "unanswered_videos": videos}
