"""One bundle, ready to predict: encoder, prepared network, score policies and resident videos.

A batch of requests goes through these steps:

    each request    1. its fetched videos become resident         `_admit_fetched`
                    2. its videos are looked up                   `_resident_rows`
                    3. stored and carried features are joined     `RecordAssembler`
                    4. candidates that carry features of their own, or of which nothing is stored, go
                       through the first layer; the others' outputs are resident
                                                                  `_candidate_output`
    the batch       5. requests and pairs go through the first layer, then all through the rest of the
                       network                                    `_predict`

Shape letters: Q requests of a batch, C candidates of one, W words of a record, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from ranker.bundles.bundle import Bundle
from ranker.errors import EvictedError
from ranker.features.encoder import Encoder
from ranker.features.forgetting import Beside
from ranker.features.key_loops import Times
from ranker.features.record import Words
from ranker.features.sides import Group
from ranker.features.state.feature_state import FeatureState
from ranker.features.state.reading import Known
from ranker.features.state.served import ServedFeatures
from ranker.labels.natural_units import natural_units
from ranker.networks.inference import InferenceModel, SideOutput
from ranker.score.terms import Floats
from serving.model.catalogue import Catalogue, Rows
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.ranked_words import RankedWords
from serving.model.record_assembler import RecordAssembler
from serving.model.request_features import RequestFeatures, RequestReader
from serving.model.served_state import ServedState, compile_changes

WARM_UP_SIZES: Final = (1, 100, 500)
"""Candidates of the requests that are ranked before the first real one."""
VIDEOS_PER_PASS: Final = 1_024
"""Videos whose side outputs are computed together, which takes a few milliseconds."""


@dataclass(frozen=True)
class _Inputs:
    """A request's inputs of the network.

    Attributes:
        request: (1, W) words of its request features.
        candidates: C rows.
        pairs: (C, W) words of its pair features; (0, W) if the model has none.
    """

    request: Words
    candidates: SideOutput
    pairs: Words


class ServedModel:
    """Predicts for batches of requests; one thread at a time may use it.

    Args:
        bundle: The verified bundle.
        catalogue_bytes: Memory that the resident videos may take.
        dtype: Of the network after its first layer.

    Attributes:
        policies: The ways to turn its predictions into an order.
        reader: Reads what requests carry.
        user_records: Layout of the viewers' stored records.
        catalogue: The resident videos.
        state: The feature state, with what is known of viewers, videos and pairs.
        layouts: How the words are laid out that requests are ranked with.
    """

    def __init__(self, bundle: Bundle, catalogue_bytes: int, dtype: torch.dtype = torch.float32) -> None:
        self.manifest = bundle.manifest
        self.spec = bundle.spec
        self.policies = bundle.spec.score_policies()
        self.reader = RequestReader(bundle.encoder)
        self.state = ServedState(bundle.encoder.feature_state, bundle.manifest.watermark_ms)
        self._encoder = bundle.encoder
        self._network = InferenceModel.of(bundle.model, dtype)
        self._assembler = RecordAssembler(bundle.encoder)
        self.user_records = self._assembler.users
        self.layouts = self._assembler.layouts
        self.catalogue = Catalogue(
            self._assembler.videos,
            hidden_width=self._network.hidden_width,
            linear_width=self._network.linear_width,
            dtype=self._network.dtype,
            device=self._network.device,
            max_bytes=catalogue_bytes,
        )

    def predict(self, requests: Sequence[EncodedRequest]) -> list[Floats | Exception]:
        """Predict for the candidates of Q requests; the answer to one does not depend on the others.

        Returns:
            For each request (C, T) in natural units, or the error that concerns it alone: `EvictedError`.
        """
        results: dict[int, Floats | Exception] = {}
        inputs: dict[int, _Inputs] = {}
        for index, request in enumerate(requests):
            try:
                inputs[index] = self._gather(request)
            except EvictedError as error:
                results[index] = error
        if inputs:
            gathered = [requests[index] for index in inputs]
            predictions = self._predict(gathered, list(inputs.values()))
            results.update(zip(inputs, predictions, strict=True))
        return [results[index] for index in range(len(requests))]

    def put_videos(self, ids: Sequence[str], records: Words, *, evict: bool = True) -> None:
        """Make videos resident, or replace what is resident of them.

        Args:
            ids: The videos, each once.
            records: (len(ids), W) in the layout of the catalogue.
            evict: Whether videos that are not resident may evict others; if not, they become resident only
                while all of them fit.
        """
        if not evict:
            fitting = self.catalogue.fitting(ids)
            if len(fitting) < len(ids):
                ids, records = [ids[index] for index in fitting], records[fitting]
        for start in range(0, len(ids), VIDEOS_PER_PASS):
            chunk = slice(start, start + VIDEOS_PER_PASS)
            words = self._assembler.stored_candidates(records[chunk])
            self.catalogue.put(ids[chunk], records[chunk], self._candidate_output(words))

    def use_state(self, state: ServedState) -> None:
        """Predict with this feature state from the next batch on.

        Args:
            state: Its features are from this model's `empty_state`: another model's features may read the
                same arrays in another way, although the digest is the same.
        """
        self._encoder.feature_state = state.features
        self.state = state

    def forget(self, column: str, name: str, ids: Sequence[str]) -> None:
        """Let the feature state know nothing of a deleted viewer or video; see `Encoder.forget`.

        Args:
            column: `user_id` or `video_id`.
            name: The id.
            ids: Resident videos that a viewer may be known with.
        """
        _, records = self.catalogue.copies(ids)
        self._encoder.forget(column, name, Beside(records, self.catalogue.layout))

    def forget_row(self, column: str, name: str) -> None:
        """Let a deleted id share the embedding of ids that were never seen; see `Encoder.forget_row`."""
        self._encoder.forget_row(column, name)

    @property
    def served_features(self) -> ServedFeatures:
        """How what the feature state knows is kept in impressions."""
        return self._encoder.served_features

    @property
    def encoder(self) -> Encoder:
        """Encodes what it reads; one thread at a time may use it."""
        return self._encoder

    def empty_state(self) -> FeatureState:
        """A feature state of this model in which nothing is known yet."""
        return FeatureState(self.spec, self._encoder.layout)

    def warm_up(self) -> None:
        """Predict for a few made-up requests, so that the first real one waits for no compilation."""
        compile_changes(self.spec)
        for size in WARM_UP_SIZES:
            ids = [str(index) for index in range(size)]
            nothing_stored = FetchedRecords(asked_ids=ids)
            self.predict([EncodedRequest(None, ids, RequestFeatures(), nothing_stored, time_ms=0)])

    def _gather(self, request: EncodedRequest) -> _Inputs:
        """Steps 1 to 4 of the module's list, for one request.

        Raises:
            EvictedError: Videos that were resident are not any more, and nobody fetched them.
        """
        self._admit_fetched(request)
        rows = self._resident_rows(request)
        candidate_rows, query_rows = np.split(rows, [len(request.candidate_ids)])
        query_is_resident = len(query_rows) > 0 and query_rows[0] >= 0
        query_video = self.catalogue.records(query_rows)[0] if query_is_resident else None
        request_words = self._assembler.request(request, query_video)

        candidates = self.catalogue.outputs(candidate_rows)
        unknown = np.flatnonzero(candidate_rows < 0)
        recomputed = _changed(request).union(unknown.tolist())
        if not recomputed and not self._network.has_pairs and request.words is None:
            return _Inputs(request_words, candidates, self._assembler.no_pairs)
        words = self._assembler.candidates(request, self.catalogue.records(candidate_rows), unknown)
        if recomputed:
            indices = np.array(sorted(recomputed), np.intp)
            fresh = self._candidate_output(words[indices])
            on_device = torch.from_numpy(indices).to(candidates.hidden.device)
            candidates.hidden[on_device] = fresh.hidden
            candidates.linear[on_device] = fresh.linear
        pairs = self._assembler.pairs(request, request_words, words)
        if request.words is not None:
            self._keep(request.words, request_words, words, pairs)
        return _Inputs(request_words, candidates, pairs)

    def _keep(self, kept: RankedWords, request: Words, candidates: Words, pairs: Words) -> None:
        """Hand over what a request is ranked with; nothing else holds on to these arrays."""
        kept.request, kept.candidates = request, candidates
        kept.pairs = self._assembler.carried_pairs(pairs)
        kept.state_ms = self.state.watermark_ms if self.spec.state_features else None

    def _admit_fetched(self, request: EncodedRequest) -> None:
        """Make the fetched videos resident that are not; videos made resident meanwhile are no older."""
        fetched = request.fetched.videos
        missing = self.catalogue.missing(fetched)
        if missing:
            # Marks the resident ones as used, so that none is evicted for the others.
            self.catalogue.rows(request.video_ids)
            self.put_videos(missing, np.stack([fetched[video_id] for video_id in missing]))

    def _resident_rows(self, request: EncodedRequest) -> Rows:
        """Rows of the request's videos in the catalogue; -1 for those that are not stored anywhere."""
        rows = self.catalogue.rows(request.video_ids)
        absent = {request.video_ids[index] for index in np.flatnonzero(rows < 0).tolist()}
        evicted = absent.difference(request.fetched.asked_ids)
        if evicted:
            raise EvictedError(len(evicted))
        return rows

    def _predict(self, requests: Sequence[EncodedRequest], inputs: Sequence[_Inputs]) -> list[Floats]:
        """(C, T) predictions in natural units for the candidates of each of Q requests."""
        times = np.array([request.time_ms for request in requests])
        request_words = np.concatenate([one.request for one in inputs])
        request_output, known = self._side_output(Group.REQUEST, request_words, times)
        pair_output = known_of_pairs = None
        if self._network.has_pairs:
            pair_words = np.concatenate([one.pairs for one in inputs])
            pair_times = np.repeat(times, [len(one.pairs) for one in inputs])
            pair_output, known_of_pairs = self._side_output(Group.PAIR, pair_words, pair_times)
        outputs = self._network.outputs(request_output, [one.candidates for one in inputs], pair_output)
        stops = np.cumsum([len(request.candidate_ids) for request in requests])
        for row, (request, stop) in enumerate(zip(requests, stops.tolist(), strict=True)):
            if request.words is not None:
                request.words.known = {Group.REQUEST: known.rows(slice(row, row + 1))}
                if known_of_pairs is not None:
                    rows = slice(stop - len(request.candidate_ids), stop)
                    request.words.known[Group.PAIR] = known_of_pairs.rows(rows)
        return np.split(natural_units(outputs, self.spec.tasks), stops[:-1])

    def _candidate_output(self, words: Words) -> SideOutput:
        """Side outputs of candidates, in the form in which they are stored."""
        return self._network.for_storage(self._side_output(Group.CANDIDATE, words, 0)[0])

    def _side_output(self, group: Group, words: Words, times: int | Times) -> tuple[SideOutput, Known]:
        """Read records of a group as of some times: what they add to the network, and what is known."""
        inputs, known = self._encoder.read_known(group, words, times)
        return self._network.side_output(group, inputs), known


def _changed(request: EncodedRequest) -> set[int]:
    """Indices of the candidates that carry features of their own."""
    return {row for override in request.features.candidates for row in override.rows}
