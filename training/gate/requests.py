"""Two models on the same recent requests: how far scores, means and the top of the lists have moved.

Requests are made of the newest rows: their viewers, each with the videos that were shown lately. No label is
looked at. Both models read the same feature state, as of the newest row.

Shape letters: Q requests, C candidates of each, T tasks, W words of a record.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.features.encoder import Encoder
from ranker.features.record import Words
from ranker.features.sides import Group
from ranker.metrics.population_stability import stability_of_values
from ranker.networks.model import RankingModel
from training.gate.window import WindowRows, predict_words

REQUESTS: Final = 20
CANDIDATES: Final = 200
TOP: Final = 20


@dataclass(frozen=True)
class Moved:
    """How far the answers to recent requests have moved.

    Attributes:
        psi: Population stability index of the scores.
        overlap: Share of the top 20 that both have, on average.
        means: (2, T) mean predictions of the model that ranks and of the new one.
    """

    psi: float
    overlap: float
    means: NDArray[np.float64]


def moved(
    rows: WindowRows, new: tuple[Encoder, RankingModel], current: tuple[Encoder, RankingModel]
) -> Moved | None:
    """Let two models answer recent requests.

    Args:
        rows: The newest rows.
        new: The new model; its feature state is the one that both read.
        current: The model that ranks.

    Returns:
        None if there are too few videos for a choice.
    """
    encoder, model = new
    words, count = recent_requests(rows, encoder)
    if count <= 1:
        return None
    times = np.full(len(words), rows.times[-1])
    known = {
        group: encoder.feature_state.look_up(group, words, encoder.example_records, times) for group in Group
    }
    predictions = [predict_words(e, m, words, known) for e, m in (current, new)]
    policy = model.spec.score_policies().default
    before, after = (policy.score(one).rank_key.reshape(-1, count) for one in predictions)
    top = min(TOP, (count + 1) // 2)
    kept = [
        len(np.intersect1d(np.argsort(-b, kind="stable")[:top], np.argsort(-a, kind="stable")[:top])) / top
        for b, a in zip(before, after, strict=True)
    ]
    return Moved(
        stability_of_values(before.ravel(), after.ravel()),
        float(np.mean(kept)),
        np.array([one.mean(axis=0) for one in predictions]),
    )


def recent_requests(rows: WindowRows, encoder: Encoder) -> tuple[Words, int]:
    """Records of the newest requests, each with the same newest videos.

    Args:
        rows: The newest rows.
        encoder: Knows where columns stand in records.

    Returns:
        (Q * C, W) request after request, and C.
    """
    records = encoder.example_records
    of_request, of_video = (
        records.shared_words(encoder.records[group])[0] for group in (Group.REQUEST, Group.CANDIDATE)
    )
    requests = _newest(rows.words[:, of_request], REQUESTS)
    videos = _newest(rows.words[:, of_video], CANDIDATES)
    words = records.missing(len(requests) * len(videos))
    words[:, of_request] = np.repeat(requests, len(videos), axis=0)
    words[:, of_video] = np.tile(videos, (len(requests), 1))
    return words, len(videos)


def _newest(words: Words, count: int) -> Words:
    """The last different rows, up to `count`, the newest first."""
    newest_first = words[::-1]
    _, first = np.unique(newest_first, axis=0, return_index=True)
    return newest_first[np.sort(first)[:count]]
