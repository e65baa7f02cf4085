"""What a ranking knew of viewers and videos is what is learned from it, bit by bit."""

import time

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.bundles.registry import Registry
from ranker.events import SERVED_FEATURES
from ranker.features.sides import Group
from ranker.labels.matrix import label_matrix
from ranker.labels.natural_units import natural_units
from ranker.spec_file import parse_spec
from serving.app import create_app
from serving.impressions import ImpressionLog
from serving.settings import ImpressionMode, ServingSettings
from tests.serving.asking import rank
from tests.serving.conftest import serving
from tests.serving.state_ranker import STATE_YAML, log_of, publish_state_ranker
from training.sources.live import LiveSource
from training.trainer import Trainer

SPEC = parse_spec(STATE_YAML.replace("label_wait: 60s", "label_wait: 300ms"), where="here")
RANKINGS = 60


@pytest.fixture
def registry(tmp_path):
    publish_state_ranker(tmp_path, log_of(300), spec=SPEC)
    return str(tmp_path)


def watched(service):
    """Rank and click, and read later what was shown before."""
    random = np.random.default_rng(0)
    for number in range(RANKINGS):
        videos = random.choice(40, 6, replace=False)
        asked = {
            "user": {"id": f"u{random.integers(5)}"},
            "context": {"hour": 3},
            "candidates": [{"id": f"v{video}", "features": {"tags": [f"t{video % 5}"]}} for video in videos],
        }
        answer = rank(service, {**asked, "limit": 4})
        clicked = answer["items"][random.integers(4)]["id"]
        event = {"event_id": f"e{number}", "request_id": answer["request_id"], "video_id": clicked}
        assert service.post("/v1/events", json={"events": [{**event, "kind": "click"}]}).status_code == 200
        time.sleep(0.03)


def learned(server):
    """The rows that a trainer reads."""
    with server.client() as store:
        source = LiveSource(SPEC, store, wait_s=0.4, stop=lambda: False, flush_s=0.1)
        rows = []
        for batch in source.batches(1_000):
            rows.append(batch.records)
            if sum(each.num_rows for each in rows) == 4 * RANKINGS:
                return pa.Table.from_batches(rows).combine_chunks().to_batches()[0]
    raise AssertionError("the log ended")


def test_what_was_served_is_learned_bit_by_bit(registry, server, store, monkeypatch):
    served = {}
    make = ImpressionLog._impression

    def spy(self, request_id, ranking, texts):
        made = make(self, request_id, ranking, texts)
        served[request_id] = ranking.words.known, ranking.order.rows, made.header.predictions
        return made

    monkeypatch.setattr(ImpressionLog, "_impression", spy)
    usual = {"impressions": ImpressionMode.SYNC, "live_features": True, "log_predictions": True}
    settings = ServingSettings(registry=registry, redis_url=server.url, log_features=True, **usual)
    with serving(create_app(settings)) as service:
        watched(service)
    rows = learned(server)

    trainer = Trainer(SPEC, seed=0)
    examples = trainer.encoder.read_examples(rows, label_matrix(rows, SPEC.feedback))

    assert trainer.encoder.served_rows == len(rows) == 4 * RANKINGS
    assert trainer.encoder.served_otherwise > RANKINGS  # a fresh state knows nothing of the bundle's log
    of_request = dict.fromkeys(served, 0)
    for row, request_id in enumerate(rows["request_id"].to_pylist()):
        known, order, _ = served[request_id]
        place = order[of_request[request_id]]
        of_request[request_id] += 1
        for group, one in known.items():
            theirs = 0 if group is Group.REQUEST else place
            mine = examples.known[group]
            assert mine.numbers[row].tobytes() == one.numbers[theirs].tobytes()
            for name, history in one.histories.items():
                assert mine.histories[name].values[row].tobytes() == history.values[theirs].tobytes()
                assert mine.histories[name].ages_s[row].tobytes() == history.ages_s[theirs].tobytes()
    assert set(of_request.values()) == {4}

    bundle = Registry(registry).read()
    expected = np.concatenate([predictions for *_, predictions in served.values()])
    np.testing.assert_allclose(predictions(bundle, rows), expected, rtol=1e-3, atol=1e-5)
    without = rows.drop_columns([SERVED_FEATURES])
    assert not np.allclose(predictions(Registry(registry).read(), without), expected, rtol=1e-2)


def predictions(bundle, rows):
    """What the bundle says of rows, whose own features it is to read."""
    with torch.no_grad():
        encoded = bundle.encoder.encode_examples(rows, labels=label_matrix(rows, SPEC.feedback))
        return natural_units(bundle.model(encoded), SPEC.tasks)


def test_without_it_impressions_carry_nothing(registry, server, store):
    settings = ServingSettings(registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC)
    with serving(create_app(settings)) as service:
        watched(service)
    rows = learned(server)

    assert rows[SERVED_FEATURES].null_count == len(rows)
