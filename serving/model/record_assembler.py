"""Joining records: what is stored of a viewer and of videos, and what a request carries, by group.

Shape letters: C candidates, W words of a group's records, V words of a stored video's record.
"""

import numpy as np
from numpy.typing import NDArray

from ranker.events import QUERY_PREFIX, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import Group, Side
from ranker.features.stored import user_records, video_records
from ranker.stream.layouts import ImpressionLayouts
from serving.model.encoded_request import EncodedRequest


class RecordAssembler:
    """Makes the records that an encoder reads for a request; a value that the request carries wins.

    Args:
        encoder: Of the bundle.

    Attributes:
        users: Layout of a viewer's stored record.
        videos: Layout of a video's stored record.
        no_pairs: (0, W) of the group `PAIR`.
        layouts: Of the words that are kept of what was ranked.
    """

    def __init__(self, encoder: Encoder) -> None:
        spec, layouts = encoder.spec, encoder.records
        request, candidate, pair = layouts[Group.REQUEST], layouts[Group.CANDIDATE], layouts[Group.PAIR]
        self.users = user_records(spec)
        self.videos = video_records(spec)
        self.no_pairs = pair.missing(0)
        self.layouts = ImpressionLayouts(encoder)
        self._unknown_request = request.missing(1)
        self._unknown_pair = pair.missing(1)
        self._id_layout = RecordLayout(
            [f for f in spec.side(Side.CANDIDATE) if f.source_column == VIDEO_ID], seed=spec.hash_seed
        )
        self._request_from_user = request.shared_words(self.users)
        self._request_from_query = request.shared_words(self.videos, prefix=QUERY_PREFIX)
        self._candidate_from_video = candidate.shared_words(self.videos)
        self._candidate_from_id = candidate.shared_words(self._id_layout)
        self._pair_from_request = pair.shared_words(request)
        self._pair_from_candidate = pair.shared_words(candidate)
        self._carried_from_pair = self.layouts.pairs.shared_words(pair)
        assert len(self._carried_from_pair[0]) == self.layouts.pairs.words  # all are in their group
        assert len(self._candidate_from_video[0]) == candidate.words  # every candidate column is stored

    def request(self, request: EncodedRequest, query_video: Words | None) -> Words:
        """Assemble the record of the request's own features.

        Args:
            request: The request, with the viewer's fetched record.
            query_video: (V,) record of the query video; None if nothing is stored of it.

        Returns:
            (1, W).
        """
        words = self._unknown_request.copy()
        if request.fetched.user is not None:
            mine, users = self._request_from_user
            words[0, mine] = request.fetched.user[users]
        if query_video is not None:
            mine, videos = self._request_from_query
            words[0, mine] = query_video[videos]
        for override in request.features.request:
            override.apply_to(words)
        return words

    def stored_candidates(self, videos: Words) -> Words:
        """Assemble the records of candidates of which a request carries nothing.

        Args:
            videos: (C, V) stored records.

        Returns:
            (C, W).
        """
        mine, theirs = self._candidate_from_video
        words = np.empty((len(videos), len(mine)), np.uint64)
        words[:, mine] = videos[:, theirs]
        return words

    def candidates(self, request: EncodedRequest, videos: Words, unknown: NDArray[np.intp]) -> Words:
        """Assemble the records of a request's candidates.

        Args:
            request: The request.
            videos: (C, V) stored records.
            unknown: Indices of the candidates of which nothing is stored: only their ids are known.

        Returns:
            (C, W).
        """
        words = self.stored_candidates(videos)
        if len(unknown) and self._id_layout.words:
            ids = [{VIDEO_ID: request.candidate_ids[index]} for index in unknown.tolist()]
            mine, theirs = self._candidate_from_id
            words[np.ix_(unknown, mine)] = self._id_layout.of_rows(ids)[:, theirs]
        for override in request.features.candidates:
            override.apply_to(words)
        return words

    def pairs(self, request: EncodedRequest, request_words: Words, candidate_words: Words) -> Words:
        """Assemble the records of the pairs of a request and its candidates.

        Args:
            request: The request.
            request_words: (1, W) as `request` returns them.
            candidate_words: (C, W) as `candidates` returns them.

        Returns:
            (C, W).
        """
        words = np.repeat(self._unknown_pair, len(candidate_words), axis=0)
        mine, theirs = self._pair_from_request
        words[:, mine] = request_words[:, theirs]
        mine, theirs = self._pair_from_candidate
        words[:, mine] = candidate_words[:, theirs]
        for override in request.features.pairs:
            override.apply_to(words)
        return words

    def carried_pairs(self, pairs: Words) -> Words:
        """What a request carried of the pairs, for those who keep it.

        Args:
            pairs: (C, W) as `pairs` returns them.

        Returns:
            (C, W) in the layout `layouts.pairs`.
        """
        mine, theirs = self._carried_from_pair
        words = np.empty((len(pairs), len(mine)), np.uint64)
        words[:, mine] = pairs[:, theirs]
        return words
