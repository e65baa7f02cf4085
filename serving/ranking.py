"""One request's way: features, predictions, score, list.

Shape letters: C candidates, T tasks.
"""

import logging
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ranker.bundles.bundle import Bundle
from ranker.errors import FeatureError, StoreError
from ranker.score.formula import Scored, ScoreFormula
from serving.feature_store import FeatureStore, Stored
from serving.model_worker import ModelWorker
from serving.problems import InvalidRequestError
from serving.request_features import RequestFeatures
from serving.schemas import RankedVideo, RankRequest, RankResponse

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


class RankingService:
    """Ranks candidates for one viewer.

    Args:
        bundle: The model; its spec says which features there are.
        worker: Runs the bundle.
        store: Has the stored features.
    """

    def __init__(self, bundle: Bundle, worker: ModelWorker, store: FeatureStore) -> None:
        self.manifest = bundle.manifest
        self.spec = bundle.spec
        self.formula = ScoreFormula(bundle.spec.score, bundle.spec.tasks)
        self._features = RequestFeatures(bundle.spec)
        self._worker = worker
        self._store = store

    async def rank(self, body: RankRequest, *, request_id: str, started: float) -> RankResponse:
        """Rank the candidates of one request.

        Args:
            body: The request.
            request_id: Names it in the response.
            started: `perf_counter()` when it came.

        Raises:
            InvalidRequestError: It carries columns that the model has not, values of the wrong type, or a
                candidate twice.
        """
        self._features.check(body)
        degraded: list[str] = []
        stored = await self._fetch(body, degraded)
        predictions_ct = await self._predict(body, stored, degraded)
        scored = self.formula.score(predictions_ct)
        return RankResponse(
            request_id=request_id,
            model_version=self.manifest.model_version,
            score_version=self.formula.version,
            unknown=self._features.unknown(body, stored),
            degraded=degraded,
            items=self._items(body, predictions_ct, scored),
            took_ms=round((perf_counter() - started) * 1000, 3),
        )

    async def ready(self) -> None:
        """See that requests can be ranked with stored features.

        Raises:
            StoreError: Redis does not answer.
        """
        await self._store.ping()

    async def _fetch(self, body: RankRequest, degraded: list[str]) -> Stored | None:
        try:
            ids = [candidate.id for candidate in body.candidates]
            return await self._store.fetch(body.user.id, body.query_video_id, ids)
        except StoreError as error:
            logger.error("ranking without stored features: %s", error)
            degraded.append("feature_store")
            return None

    async def _predict(self, body: RankRequest, stored: Stored | None, degraded: list[str]) -> Floats:
        try:
            return await self._worker.predict(*self._features.join(body, stored))
        except FeatureError as error:
            place = self._features.carried(body, error)
            if place is not None:
                raise InvalidRequestError([place]) from error
            logger.error("ranking without stored features: the store holds %s", error)
        degraded.append("stored_features")
        return await self._predict(body, None, degraded)

    def _items(self, body: RankRequest, predictions_ct: Floats, scored: Scored) -> list[RankedVideo]:
        tasks = [task.name for task in self.spec.tasks]
        best = np.argsort(-scored.rank_key, kind="stable")[: body.limit]
        contributions = scored.contributions[best].tolist()
        rows = zip(
            best.tolist(),
            scored.score[best].tolist(),
            predictions_ct[best].tolist(),
            contributions,
            strict=True,
        )
        return [
            RankedVideo(
                id=body.candidates[index].id,
                position=position,
                score=score,
                predictions=dict(zip(tasks, predictions, strict=True)),
                contributions=dict(zip(scored.heads, parts, strict=True)) if body.explain else None,
            )
            for position, (index, score, predictions, parts) in enumerate(rows, start=1)
        ]
