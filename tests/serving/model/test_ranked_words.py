"""The words that a model hands over of what it ranked."""

from dataclasses import replace

import numpy as np
import pytest

from ranker.features.record import RecordLayout
from ranker.features.sides import Group, Side
from serving.model.ranked_words import RankedWords
from serving.model.served_model import ServedModel
from tests.ranker.small_spec import SMALL_SPEC
from tests.serving.ranked_world import World, bundle_of, close


@pytest.fixture(scope="module")
def bundle():
    return bundle_of()


def expected_words(bundle, columns):
    """What the bundle's own path makes of the columns that a request amounts to."""
    request, candidates = columns
    records = bundle.encoder.records
    carried = RecordLayout(SMALL_SPEC.side(Side.PAIR), seed=SMALL_SPEC.hash_seed)
    return (
        records[Group.REQUEST].of_rows([request]),
        records[Group.CANDIDATE].of_rows(candidates),
        carried.of_rows(candidates),
    )


def check(kept, expected):
    for found, words in zip((kept.request, kept.candidates, kept.pairs), expected, strict=True):
        np.testing.assert_array_equal(found, words)


def test_they_are_what_the_bundle_makes_of_the_same_columns(bundle):
    world = World(bundle)
    for _ in range(20):
        request, columns = world.ask()
        words = RankedWords()
        [found] = world.model.predict([replace(request, words=words)])
        check(words, expected_words(bundle, columns))
        close(found, world.expected(columns))
        if world.random.random() < 0.3:
            world.make_resident(world.videos)


def test_each_request_of_a_batch_has_its_own(bundle):
    world = World(bundle, seed=3)
    asked = [world.ask() for _ in range(6)]
    kept = [RankedWords() for _ in asked]
    world.model.predict(
        [replace(request, words=words) for (request, _), words in zip(asked, kept, strict=True)]
    )
    for words, (_, columns) in zip(kept, asked, strict=True):
        check(words, expected_words(bundle, columns))


def test_they_stay_what_they_were_when_a_video_changes(bundle):
    world = World(bundle, seed=4)
    world.make_resident(world.videos)
    request, columns = world.ask()
    words = RankedWords()
    world.model.predict([replace(request, words=words)])
    ids = list(world.videos)
    world.model.put_videos(ids, world.model.catalogue.layout.missing(len(ids)))
    check(words, expected_words(bundle, columns))


def test_layouts_say_how_they_are_laid_out(bundle):
    model = ServedModel(bundle, catalogue_bytes=1)
    layouts = model.layouts
    assert layouts.digests == tuple(
        layout.digest for layout in (layouts.request, layouts.videos, layouts.pairs)
    )
    assert layouts.widths == (layouts.request.words, layouts.videos.words, layouts.pairs.words)
    assert dict(layouts.by_digest)[layouts.digests[1]] is layouts.videos
    assert layouts.pairs.columns == tuple(f.source_column for f in SMALL_SPEC.side(Side.PAIR))
