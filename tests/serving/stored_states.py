"""A log of 600 rows, a bundle that has seen some of them, and states in the store that have seen others."""

from ranker.bundles.bundle import unpack
from ranker.store.state_store import StateStore
from tests.serving.state_ranker import log_of, packed_state_ranker, publish_state_ranker

LOG = log_of(600)


def begin(folder, server, rows):
    """Empty the store and publish a bundle that has seen so many rows; return the folder."""
    with server.client() as client:
        client.flushall()
    publish_state_ranker(folder, LOG.slice(0, rows))
    return folder


def watermark_after(rows):
    """The time of the last of so many rows."""
    return LOG.column("time_ms")[rows - 1].as_py()


def write_state(server, rows, watermark_ms=None):
    """Store the state after so many rows; return its version."""
    state = unpack(packed_state_ranker(LOG.slice(0, rows)), where="test").encoder.feature_state
    with server.client() as client:
        store = StateStore(client, state.digest)
        return store.write(state.state(), watermark_ms or watermark_after(rows)).version
