import redis

from ranker.stream.feedback import Reason
from ranker.stream.rejected import latest_rejected, queue_rejected, rejected_counts
from tests.ranker.stream.made_events import event


def test_events_that_were_set_aside_are_counted_and_can_be_looked_at(client: redis.Redis) -> None:
    late, unknown = event("1", "r", "a"), event("2", "s", "a", value=3)
    with client.pipeline() as pipeline:
        queue_rejected(pipeline, [(Reason.TOO_LATE, late), (Reason.UNKNOWN_REQUEST, unknown)])
        queue_rejected(pipeline, [(Reason.TOO_LATE, late)])
        pipeline.execute()

    assert rejected_counts(client) == {"too late": 2, "unknown request": 1}
    assert [(one.reason, one.event) for one in latest_rejected(client, 2)] == [
        ("too late", late),
        ("unknown request", unknown),
    ]
