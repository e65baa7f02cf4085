"""Ranking in the caller's process with the service's code, without HTTP: for notebooks and batch jobs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.device import choose_device, fast_bfloat16
from ranker.errors import FeatureError, InvalidRequestError, Mistake
from ranker.events import USER_ID, VIDEO_ID
from ranker.features.entity_ids import id_texts
from ranker.features.record import RecordLayout, Words
from ranker.features.values import FeatureValue
from serving.answers import RankedVideo
from serving.http.json_pointer import json_pointer
from serving.http.validation_messages import validation_message
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.request_time import StateAges, request_time
from serving.model.served_model import ServedModel
from serving.ranked_list import chosen_policy, ranked_items, ranked_order
from serving.requests import RankRequest

CATALOGUE_BYTES: Final = 256_000_000
Rows = Iterable[Mapping[str, FeatureValue]]


class Ranking(BaseModel):
    """The ranked videos of one request, best first, and what ranked them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_version: str
    score_policy: str
    score_version: str
    state_age_s: float | None = Field(description="As in the answer over HTTP.")
    state_stale: bool = Field(description="As in the answer over HTTP.")
    items: list[RankedVideo] = Field(description="As in the answer over HTTP.")

    @property
    def ids(self) -> list[str]:
        """The videos' ids, best first."""
        return [item.id for item in self.items]


class Ranker:
    """A bundle that ranks in this process; one thread at a time may use it.

    Features of viewers and videos are those that a request carries and those that `know_users` and
    `know_videos` were given, which take the place of the feature store.

    Args:
        bundle: A verified bundle.
        device: Where to compute: auto, cpu or cuda.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        chosen = choose_device(device)
        bundle.model.to(chosen)
        dtype = torch.bfloat16 if fast_bfloat16(chosen) else torch.float32
        self._model = ServedModel(bundle, CATALOGUE_BYTES, dtype)
        self._state_ages = StateAges()
        self._users: dict[str, Words] = {}
        self._videos: dict[str, Words] = {}

    @classmethod
    def load(
        cls, registry: str | Path | Registry, version: str | None = None, *, device: str = "auto"
    ) -> Self:
        """Read and verify a bundle.

        Args:
            registry: A registry, or its folder or URL.
            version: The bundle's version; the current one if left out.
            device: Where to compute: auto, cpu or cuda.

        Raises:
            RegistryError: No such registry or version.
            BundleError: The bundle does not verify.
        """
        opened = registry if isinstance(registry, Registry) else Registry(str(registry))
        return cls(opened.read(version), device=device)

    @property
    def model_version(self) -> str:
        """The version of the bundle."""
        return self._model.manifest.model_version

    def know_users(self, users: pa.Table | Rows) -> None:
        """Remember viewers' features.

        Args:
            users: Rows with `user_id` and the spec's user columns.

        Raises:
            FeatureError: A value has the wrong type, or a row has no id.
        """
        self._users.update(_records(users, self._model.user_records, USER_ID))

    def know_videos(self, videos: pa.Table | Rows) -> None:
        """Remember videos' features.

        Args:
            videos: Rows with `video_id` and the spec's candidate columns.

        Raises:
            FeatureError: A value has the wrong type, or a row has no id.
        """
        found = _records(videos, self._model.catalogue.layout, VIDEO_ID)
        self._videos.update(found)
        self._model.catalogue.remove(found)

    def rank(
        self,
        user: str | int | Mapping[str, Any] | None,
        candidates: Sequence[str | int | Mapping[str, Any]],
        *,
        query_video_id: str | int | None = None,
        query_features: Mapping[str, FeatureValue] | None = None,
        context: Mapping[str, FeatureValue] | None = None,
        time_ms: int | None = None,
        limit: int | None = None,
        explain: bool = False,
        policy: str | None = None,
    ) -> Ranking:
        """Rank candidate videos for one viewer, as `POST /v1/rank` does.

        Args:
            user: The viewer's id, or `{"id": ..., "features": {...}}`; None for one who is unknown.
            candidates: Their ids, or a mapping of that form each.
            query_video_id: The video that is on now.
            query_features: Columns of it, without `query_`.
            context: What is known of the moment, by the context columns.
            time_ms: When the request is made, Unix epoch in milliseconds; now by default.
            limit: How many of the best to return; all by default.
            explain: Also give each head's contribution to the score.
            policy: The score policy to rank by; that of the spec's `score` by default.

        Raises:
            InvalidRequestError: The model cannot rank this request; it names every mistake.
        """
        body = _request(
            user=_with_id(user),
            candidates=[_with_id(candidate) for candidate in candidates],
            query_video_id=query_video_id,
            query_features=dict(query_features or {}),
            context=dict(context or {}),
            time_ms=time_ms,
            limit=limit,
            explain=explain,
            policy=policy,
        )
        chosen = chosen_policy(self._model.policies, body)
        features = self._model.reader.read(body)
        ids = [candidate["id"] for candidate in body.candidates]
        video_ids = ids if body.query_video_id is None else [*ids, body.query_video_id]
        missing = self._model.catalogue.missing(video_ids)
        videos = {video_id: self._videos[video_id] for video_id in missing if video_id in self._videos}
        fetched = FetchedRecords(self._users.get(body.user.id or ""), missing, videos)
        at_ms = request_time(body.time_ms, self._model)
        request = EncodedRequest(body.query_video_id, ids, features, fetched, at_ms)
        (predictions,) = self._model.predict([request])
        if isinstance(predictions, Exception):
            raise predictions
        tasks = [task.name for task in self._model.spec.tasks]
        state_age = self._state_ages.at(at_ms, self._model)
        order = ranked_order(body, predictions, chosen)
        return Ranking(
            model_version=self.model_version,
            score_policy=chosen.name,
            score_version=chosen.version,
            state_age_s=state_age.seconds,
            state_stale=state_age.stale,
            items=[RankedVideo(**item) for item in ranked_items(body, tasks, predictions, order)],
        )


def _with_id(given: str | int | Mapping[str, Any] | None) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {"id": given}


def _request(**fields: Any) -> RankRequest:
    try:
        return RankRequest.model_validate(fields)
    except ValidationError as error:
        mistakes = [
            Mistake(json_pointer(d["loc"]), validation_message(dict(d)))
            for d in error.errors(include_url=False)
        ]
        raise InvalidRequestError(mistakes) from error


def _records(rows: pa.Table | Rows, layout: RecordLayout, id_column: str) -> dict[str, Words]:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows])
    doubles = [name for name in table.column_names if table.column_names.count(name) > 1]
    if doubles:
        raise FeatureError(f"expected each column once, found '{doubles[0]}' again", feature=doubles[0])
    if id_column not in table.column_names:
        raise FeatureError(
            f"expected a column '{id_column}', found {', '.join(table.column_names) or 'none'}",
            feature=id_column,
        )
    for name in layout.columns:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table)))
    ids = id_texts(table[id_column], id_column)
    batch = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    words = np.concatenate([layout.of_batch(each) for each in batch])
    return dict(zip(ids, words, strict=True))
