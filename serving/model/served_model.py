"""One bundle, ready to predict: the prepared network, its resident videos, and the score policies it brings.

Shape letters: Q requests of a batch, B candidates of all of them, C candidates of one, T tasks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.bundles.bundle import Bundle
from ranker.errors import EvictedError
from ranker.events import QUERY_PREFIX, VIDEO_ID
from ranker.features.key_loops import Times
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import Group, Side
from ranker.features.state.feature_state import FeatureState
from ranker.features.stored import user_records
from ranker.labels.natural_units import natural_units
from ranker.networks.inference import InferenceModel, Part
from serving.model.catalogue import Catalogue
from serving.model.request_records import RequestReader, RequestRecords
from serving.model.served_state import ServedState, compile_learning

Floats = NDArray[np.float64]
Slots = NDArray[np.int64]
WARMING_SIZES = (1, 100, 500)
"""Candidates of the requests that are ranked before the first real one."""


@dataclass(frozen=True)
class Stored:
    """What the feature store has of a request.

    Attributes:
        user: (W,) the viewer's record; None if there is none.
        asked: The videos that were asked for, because they were not resident.
        videos: Records of those that are stored.
    """

    user: Words | None = None
    asked: Collection[str] = ()
    videos: Mapping[str, Words] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """A request, as the model takes it.

    Attributes:
        query_video_id: The video that is on now.
        video_ids: C candidates.
        carried: What the request carries itself.
        stored: What the store has.
        time_ms: When the request was made.
    """

    query_video_id: str | None
    video_ids: Sequence[str]
    carried: RequestRecords
    stored: Stored
    time_ms: int

    @property
    def videos(self) -> Sequence[str]:
        """The candidates and, behind them, the query video if there is any."""
        return self.video_ids if self.query_video_id is None else [*self.video_ids, self.query_video_id]


@dataclass(frozen=True)
class _Inputs:
    """A query's rows, before the network.

    Attributes:
        request: (1, W) words of its request features.
        candidates: C rows of the first layer.
        pairs: (C, W) words of its pair features.
    """

    request: Words
    candidates: Part
    pairs: Words


class ServedModel:
    """Predicts for batches of requests; one thread at a time.

    Args:
        bundle: The verified bundle.
        catalogue_bytes: Memory of the resident videos.
        dtype: Of the network after its first layer.

    Attributes:
        policies: The ways to turn its predictions into an order.
        state: What is known of viewers, videos and pairs.
    """

    def __init__(self, bundle: Bundle, catalogue_bytes: int, dtype: torch.dtype = torch.float32) -> None:
        self.manifest = bundle.manifest
        self.spec = bundle.spec
        self.policies = bundle.spec.score_policies()
        self.reader = RequestReader(bundle.encoder)
        self.user_records = user_records(bundle.spec)
        self._model = InferenceModel.of(bundle.model, dtype)
        self._encoder = bundle.encoder
        self.state = ServedState(bundle.encoder.feature_state, bundle.manifest.watermark_ms)
        self.catalogue = Catalogue(bundle.encoder, self._model, catalogue_bytes)
        records = bundle.encoder.records
        self._request_empty = records[Group.REQUEST].missing(1)
        self._pairs_empty = records[Group.PAIR].missing(1)
        self._from_user = records[Group.REQUEST].shared_words(self.user_records)
        self._from_query = records[Group.REQUEST].shared_words(self.catalogue.layout, prefix=QUERY_PREFIX)
        self._pair_from_request = records[Group.PAIR].shared_words(records[Group.REQUEST])
        self._pair_from_candidate = records[Group.PAIR].shared_words(records[Group.CANDIDATE])
        ids = [f for f in bundle.spec.side(Side.CANDIDATE) if f.source_column == VIDEO_ID]
        self._id_layout = RecordLayout(ids, seed=bundle.spec.hash_seed)
        self._from_id = records[Group.CANDIDATE].shared_words(self._id_layout)

    def predict(self, queries: Sequence[Query]) -> list[Floats | Exception]:
        """Predict for the candidates of Q requests; what one gets does not depend on the others.

        Returns:
            For each query (C, T) in natural units, or the error that concerns it alone.
        """
        results: dict[int, Floats | Exception] = {}
        inputs: dict[int, _Inputs] = {}
        for place, query in enumerate(queries):
            try:
                inputs[place] = self._inputs(query)
            except EvictedError as error:
                results[place] = error
        if inputs:
            predicted = self._predict([queries[place] for place in inputs], list(inputs.values()))
            results.update(zip(inputs, predicted, strict=True))
        return [results[place] for place in range(len(queries))]

    def take(self, state: ServedState) -> None:
        """Predict with this state from the next batch on.

        Args:
            state: Its features were made by `empty_state`: those of another model read as that one's spec
                says, which may be otherwise though the digest is the same.
        """
        self._encoder.feature_state = state.features
        self.state = state

    def empty_state(self) -> FeatureState:
        """A state of this model's features in which nothing is known yet."""
        return FeatureState(self.spec, self._encoder.layout)

    def warm_up(self) -> None:
        """Predict for a few made-up requests, so that the first real one finds everything in its place."""
        compile_learning(self.spec, self._encoder.layout)
        for size in WARMING_SIZES:
            ids = [str(place) for place in range(size)]
            carried = RequestRecords((), (), ())
            self.predict([Query(None, ids, carried, Stored(asked=ids), time_ms=0)])

    def _predict(self, queries: Sequence[Query], inputs: Sequence[_Inputs]) -> list[Floats]:
        times = np.array([query.time_ms for query in queries])
        requests = self._part(Group.REQUEST, np.concatenate([one.request for one in inputs]), times)
        pairs = None
        if self._model.has_pairs:
            words = np.concatenate([one.pairs for one in inputs])
            pairs = self._part(Group.PAIR, words, np.repeat(times, [len(one.pairs) for one in inputs]))
        outputs = self._model.outputs(requests, [one.candidates for one in inputs], pairs)
        stops = np.cumsum([len(query.video_ids) for query in queries])
        return np.split(natural_units(outputs, self.spec.tasks), stops[:-1])

    def _part(self, group: Group, words: Words, times: Times) -> Part:
        return self._model.part(group, self._encoder.read(group, words, times))

    def _inputs(self, query: Query) -> _Inputs:
        """Put together what is resident, stored and carried; the request's own values go first."""
        catalogue, stored = self.catalogue, query.stored
        fetched = catalogue.lacking(stored.videos)  # one that has come since then is no older
        if fetched:
            catalogue.slots(query.videos)  # those that are there do not leave for the others
            catalogue.put(fetched, np.stack([stored.videos[video_id] for video_id in fetched]))
        slots = catalogue.slots(query.videos)
        evicted = {query.videos[place] for place in np.flatnonzero(slots < 0).tolist()}.difference(
            stored.asked
        )
        if evicted:
            raise EvictedError(len(evicted))
        slots, query_slot = slots[: len(query.video_ids)], slots[len(query.video_ids) :]
        request = self._request_words(query, query_slot)
        changed = {row for carried in query.carried.candidates for row in carried.rows}
        fresh = np.array(sorted(changed.union(np.flatnonzero(slots < 0).tolist())), np.intp)
        parts = catalogue.parts(np.maximum(slots, 0))
        if not len(fresh) and not self._model.has_pairs:
            return _Inputs(request, parts, self._pairs_empty)
        words = self._candidate_words(query, slots)
        if len(fresh):
            computed = catalogue.compute(words[fresh])
            rows = torch.from_numpy(fresh).to(parts.hidden.device)
            parts.hidden[rows] = computed.hidden
            parts.linear[rows] = computed.linear
        return _Inputs(request, parts, self._pair_words(query, request, words))

    def _request_words(self, query: Query, query_slot: Slots) -> Words:
        words = self._request_empty.copy()
        if query.stored.user is not None:
            words[0, self._from_user[0]] = query.stored.user[self._from_user[1]]
        if (query_slot >= 0).any():
            words[0, self._from_query[0]] = self.catalogue.records(query_slot)[0, self._from_query[1]]
        for carried in query.carried.request:
            carried.put_into(words)
        return words

    def _candidate_words(self, query: Query, slots: Slots) -> Words:
        words = self.catalogue.candidate_words(self.catalogue.records(slots))
        absent = np.flatnonzero(slots < 0)
        if len(absent) and self._id_layout.words:
            named = self._id_layout.of_rows([{VIDEO_ID: query.video_ids[place]} for place in absent.tolist()])
            words[np.ix_(absent, self._from_id[0])] = named[:, self._from_id[1]]
        for carried in query.carried.candidates:
            carried.put_into(words)
        return words

    def _pair_words(self, query: Query, request: Words, candidates: Words) -> Words:
        words = np.repeat(self._pairs_empty, len(candidates), axis=0)
        words[:, self._pair_from_request[0]] = request[:, self._pair_from_request[1]]
        words[:, self._pair_from_candidate[0]] = candidates[:, self._pair_from_candidate[1]]
        for carried in query.carried.pairs:
            carried.put_into(words)
        return words
