import subprocess
import sys
from pathlib import Path

import pytest

from ranker.bundles.bundle import unpack
from ranker.spec_file import parse_spec
from ranker.store.state_store import StateStore
from serving.model.served_state import ServedState
from tests.serving.state_ranker import STATE_YAML, log_of, packed_state_ranker, publish_state_ranker

LOG = log_of(300)
SERVES = """
import sys
import redis
from ranker.bundles.registry import Registry
from ranker.events import USER_ID, VIDEO_ID
from ranker.features import hashing, id_table, key_loops
from ranker.features.state import histories, rate_loops, recency
from ranker.store.state_store import StateStore
from serving.model.request_features import RequestFeatures
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.served_model import ServedModel
from serving.model.served_state import ServedState

def compiled():
    return {
        name: found.signatures
        for module in (hashing, id_table, key_loops, histories, rate_loops, recency)
        for name, found in vars(module).items()
        if hasattr(found, "signatures")
    }

model = ServedModel(Registry(sys.argv[1]).read(), 1)
model.warm_up()
ready = compiled()
state = model.empty_state()
assert len(state) == 0
store = StateStore(redis.Redis.from_url(sys.argv[2]), state.digest)
state.load(store.read(store.newest()))
assert len(state._pending)
state.advance(2**53)
assert not len(state._pending)
model.use_state(ServedState(state, 1))
ids = ["v1", "v2"]
model.predict([EncodedRequest(None, ids, RequestFeatures(), FetchedRecords(asked_ids=ids), 1)])
for column, name in ((USER_ID, "u1"), (VIDEO_ID, "v1")):
    model.forget_row(column, name)
    model.forget(column, name, model.catalogue.ids())
after = compiled()
assert any(ready.values())
print([name for name in after if after[name] != ready[name]])
"""


def test_nothing_is_compiled_once_a_model_is_warm(tmp_path, server):
    """While code is compiled nobody is answered; all of it must have been before the first request."""
    publish_state_ranker(tmp_path, LOG.slice(0, 200))
    state = unpack(packed_state_ranker(LOG), where="test").encoder.feature_state
    with server.client() as client:
        StateStore(client, state.digest).write(state.state(), 1)
    root = Path(__file__).parents[3]
    output = subprocess.run(
        [sys.executable, "-c", SERVES, str(tmp_path), server.url],
        cwd=root,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert output.strip() == "[]"


@pytest.mark.parametrize(
    ("mine", "others", "succeeds"),
    [(2, 1, True), (1, 1, False), (1, 2, False), (None, 1, False), (1, None, True), (None, None, False)],
)
def test_the_newer_state_succeeds(mine, others, succeeds):
    state = unpack(packed_state_ranker(LOG), where="test").encoder.feature_state
    assert ServedState(state, mine).is_newer_than(ServedState(state, others)) is succeeds


def test_a_state_of_other_features_succeeds_none():
    other = parse_spec(STATE_YAML.replace("half_lives: [1d]", "half_lives: [2d]"), where="test")
    mine, others = (
        unpack(packed_state_ranker(LOG, **changes), where="test").encoder.feature_state
        for changes in ({}, {"spec": other})
    )
    assert not ServedState(mine, 2).is_newer_than(ServedState(others, 1))
