"""The one thread that runs the model, so that the event loop stays free for requests."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.bundles.bundle import Bundle
from ranker.features.values import FeatureValue


class ModelWorker:
    """Owns a bundle and predicts with it, one request at a time.

    Args:
        bundle: The model; nobody else may use it from now on.
        threads: Threads that torch may use for one matrix product.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._bundle = bundle
        self._executor = ThreadPoolExecutor(
            1, thread_name_prefix="model", initializer=torch.set_num_threads, initargs=(threads,)
        )

    async def predict(
        self, request: Mapping[str, FeatureValue], candidates: Sequence[Mapping[str, FeatureValue]]
    ) -> NDArray[np.float64]:
        """Predict every head for every candidate.

        Args:
            request: The columns of user, query video and context.
            candidates: The columns of each of C candidates.

        Returns:
            (C, T) in natural units, in the spec's task order.

        Raises:
            FeatureError: A value has the wrong type.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._bundle.predict, request, candidates)

    def close(self) -> None:
        """Let the request that is running end, and stop the thread."""
        self._executor.shutdown()
