"""Keeping the log of events below a number of entries by dropping the oldest.

Readers are told by an error: what was dropped is noted together with the drop, so none slips by unseen.
"""

from typing import Any, Final

import redis
import redis.asyncio

from ranker.store.keys import events_dropped_key, events_key

SLACK: Final = 100
"""One in so many entries is dropped beyond what is needed, so that it rarely has to be done."""
# A transaction cannot note what one of its own commands finds; to everyone else a script is one as well. The
# last entry to drop is dropped by itself, because Redis does not tell which ones it drops.
_SCRIPT: Final = """
local dropped = redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1] + 1)
local last = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1]) == 0 then return dropped end
redis.call('SET', KEYS[2], last[1])
return dropped + 1
"""


def queue_drop_oldest(
    pipeline: redis.client.Pipeline | redis.asyncio.client.Pipeline, max_entries: int
) -> None:
    """Queue the command that drops the oldest entries, whoever needs them; it answers how many.

    Args:
        pipeline: To queue in.
        max_entries: Entries that may stay; a hundredth fewer do.
    """
    kept: Any = max(1, max_entries - max(1, max_entries // SLACK))
    pipeline.eval(_SCRIPT, 2, events_key(), events_dropped_key(), kept)
