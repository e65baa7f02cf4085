import asyncio
import threading

import numpy as np
import pytest

from ranker.errors import FeatureError
from serving.model_worker import ModelWorker


class ThreadRecorder:
    """Stands in for a bundle: predicts the thread it runs on, and refuses what it is told to."""

    def __init__(self):
        self.threads = []

    def predict(self, request, candidates):
        self.threads.append(threading.current_thread().name)
        if "bad" in request:
            raise FeatureError("bad: expected good", feature="bad")
        return np.full((len(candidates), 1), len(self.threads), float)


def test_all_requests_run_on_the_one_thread_of_the_model():
    bundle = ThreadRecorder()
    worker = ModelWorker(bundle, threads=1)

    async def run():
        return await asyncio.gather(*(worker.predict({}, [{}] * count) for count in range(1, 5)))

    results = asyncio.run(run())
    worker.close()
    assert [result.shape for result in results] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert len(set(bundle.threads)) == 1
    assert bundle.threads[0].startswith("model")


def test_the_models_refusal_reaches_the_request():
    worker = ModelWorker(ThreadRecorder(), threads=1)
    with pytest.raises(FeatureError, match="expected good"):
        asyncio.run(worker.predict({"bad": 1}, [{}]))
    worker.close()
