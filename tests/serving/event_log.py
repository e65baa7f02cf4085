"""What a test finds in the log of events."""

from ranker.stream import feedback
from ranker.stream.event_log import BEGINNING, Kind
from ranker.stream.impressions import Impression
from ranker.stream.layouts import Layouts, columns_of
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.texts import Texts, by_word


def entries(client):
    return RedisEventLog(client).read(BEGINNING, count=100_000)


def impressions(client):
    """All impressions of the log, in their order."""
    found = [entry for entry in entries(client) if entry.kind is Kind.IMPRESSION]
    return [Impression.from_bytes(entry.data, where=str(entry.id)) for entry in found]


def request_ids(client):
    return [impression.header.request_id for impression in impressions(client)]


def calls(client):
    """The events of each call, in the order of the log."""
    found = [entry for entry in entries(client) if entry.kind is Kind.FEEDBACK]
    return [feedback.from_bytes(entry.data, where=str(entry.id)) for entry in found]


def columns(client, impression, *, seed=0, without=("user_id", "video_id", "query_video_id")):
    """The columns of an impression's request, videos and pairs, read back but for ids, as dicts of lists."""
    layouts, texts = Layouts(client), Texts(client, seed)
    found = []
    for digest, words in zip(
        impression.header.layouts, (impression.request, impression.videos, impression.pairs), strict=True
    ):
        parts = [part for part in layouts.of(digest) if part.column not in without]
        read = columns_of(parts, words, texts, by_word(impression.header.texts, seed))
        found.append({name: column.to_pylist() for name, column in read.items()})
    return found
