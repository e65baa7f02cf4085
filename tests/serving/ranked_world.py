"""Requests with features from everywhere, and what their ranking should be."""

import numpy as np

from ranker.bundles.bundle import unpack
from ranker.features.sides import Side
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.served_model import ServedModel
from serving.requests import RankRequest
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of
from tests.serving.small_ranker import packed_ranker

RECORDS = random_records(24, seed=11)
RECORDS_SEEN = random_records(60, seed=5)
ROWS = [{**request_of(RECORDS, row)[0], **request_of(RECORDS, row)[1][row]} for row in range(24)]
VIDEO_COLUMNS = ("tags", "topic", "duration_s")
PAIR_COLUMNS = ("last_author_id", "affinity")
USER_COLUMNS = ("country", "interests", "age")
QUERY_COLUMNS = ("tags", "duration_s")


def bundle_of(spec=SMALL_SPEC, seed=1):
    return unpack(packed_ranker(seed=seed, spec=spec, records=RECORDS_SEEN), where="test")


class World:
    """Features of users and videos, of which some are stored and some are carried, drawn at random.

    Args:
        bundle: Ranks.
        seed: Of the draw.
        count: Candidates of a request.
    """

    def __init__(self, bundle, seed=0, count=12):
        self.model = ServedModel(bundle, catalogue_bytes=1)
        self.bundle = bundle
        self.random = np.random.default_rng(seed)
        self.count = count
        self.pairs = [f.source_column for f in bundle.spec.side(Side.PAIR)]
        self.videos = {str(i): self.values(VIDEO_COLUMNS) for i in range(30)}

    def values(self, columns):
        """Some of the columns, each out of any row."""
        chosen = [name for name in columns if self.random.random() < 0.7]
        return {name: self.random.choice(ROWS).get(name) for name in chosen}

    def record(self, video_id):
        return self.model.catalogue.layout.of_rows([{**self.videos[video_id], "video_id": video_id}])[0]

    def make_resident(self, ids):
        self.model.put_videos(list(ids), np.stack([self.record(video_id) for video_id in ids]))

    def ask(self):
        """A request whose features are stored or carried at random, and the columns that it amounts to."""
        ids = [
            str(v) for v in self.random.choice([*self.videos, "n1", "n2", "n3"], self.count, replace=False)
        ]
        query_video_id = self.random.choice([*self.videos, "n9", None])
        body = {
            "user": {"id": "u", "features": self.values(USER_COLUMNS)},
            "query_video_id": query_video_id,
            "query_features": self.values(QUERY_COLUMNS) if self.random.random() < 0.5 else {},
            "context": {"hour": int(self.random.integers(24))} if self.random.random() < 0.7 else {},
            "candidates": [
                {"id": video_id, "features": self.values([*VIDEO_COLUMNS, *self.pairs])}
                if self.random.random() < 0.5
                else {"id": video_id}
                for video_id in ids
            ],
        }
        user = self.values(USER_COLUMNS) if self.random.random() < 0.7 else None
        body = RankRequest.model_validate(body)
        features = self.model.reader.read(body)
        missing = self.model.catalogue.missing([*ids, query_video_id])
        fetched = FetchedRecords(
            None if user is None else self.model.user_records.of_rows([{**user, "user_id": "u"}])[0],
            frozenset(missing),
            {video_id: self.record(video_id) for video_id in missing if video_id in self.videos},
        )
        query = self.videos.get(query_video_id, {})
        request = {
            **(user or {}),
            **body.user.features,
            **{f"query_{name}": query.get(name) for name in QUERY_COLUMNS},
            **{f"query_{name}": value for name, value in body.query_features.items()},
            **body.context,
            "user_id": "u",
            "query_video_id": query_video_id,
        }
        candidates = [
            {**self.videos.get(c["id"], {}), **c.get("features", {}), "video_id": c["id"]}
            for c in body.candidates
        ]
        return EncodedRequest(query_video_id, ids, features, fetched, 0), (request, candidates)

    def expected(self, columns):
        return self.bundle.predict(*columns)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
