"""How far two loops are from each other: predictions, rates, and the loss of what they predicted.

Shape letters: N rows, T tasks, H half-lives, L labels.
"""

from collections.abc import Sequence
from typing import Any, Final

import httpx
import numpy as np

from load_tests.poisoning.pages import Floats, Page, Seen
from ranker.bundles.bundle import Bundle
from ranker.features.kinds.rate import RateFeature
from ranker.features.sides import Group
from ranker.spec import RankerSpec

SMALL: Final = 1e-12


def predictions(url: str, asked: Sequence[Page], tasks: Sequence[str], time_ms: int) -> Floats:
    """(N, T) what a service predicts for the videos of pages, all as of one time."""
    rows: list[list[float]] = []
    with httpx.Client(base_url=url, timeout=30) as client:
        for page in asked:
            answer = client.post("/v1/rank", json=page.body | {"time_ms": time_ms}).raise_for_status().json()
            found = {item["id"]: item["predictions"] for item in answer["items"]}
            rows += [[found[video][task] for task in tasks] for video in page.videos]
    return np.array(rows)


def losses(seen: Sequence[Seen], spec: RankerSpec) -> dict[str, float]:
    """Each head's mean loss of what was predicted when a page was ranked."""
    found: dict[str, float] = {}
    for index, task in enumerate(spec.tasks):
        label = np.concatenate([one.page.labels()[task.name] for one in seen])
        predicted = np.concatenate([one.predictions[:, index] for one in seen])
        known = ~np.isnan(label) & ~np.isnan(predicted)
        found[task.name] = float(task.row_losses(label[known], predicted[known]).mean())
    return found


def rates(bundle: Bundle, feature: str, rows: list[dict[str, Any]], time_ms: int) -> Floats:
    """(N, H * L) rates that a bundle's state knows.

    Args:
        bundle: The bundle.
        feature: Name of a `rate` feature of binary labels.
        rows: For each of N rows, the columns that the feature is counted by.
        time_ms: As of when.
    """
    encoder = bundle.encoder
    group = next(g for g in Group if feature in {f.name for f in encoder.layout.state_features(g)})
    records = encoder.records[group]
    words = records.of_rows(rows)
    known = encoder.feature_state.look_up(group, words, records, np.full(len(rows), time_ms, np.int64))
    first = 0
    for each in encoder.layout.state_features(group):
        width = len(encoder.layout.numbers_of(each))
        if each.name == feature:
            assert isinstance(each, RateFeature)
            numbers = known.numbers[:, first : first + width].reshape(len(rows), len(each.half_lives), -1)
            odds = numbers[:, :, :-1].astype(float)  # behind the labels there is a count
            return np.asarray(1 / (1 + np.exp(-odds))).reshape(len(rows), -1)
        first += width
    raise AssertionError(f"{feature} gives no numbers")


def relative(one: Floats, other: Floats) -> Floats:
    """(T,) how far means are apart, as a share."""
    return np.asarray(np.abs(one.mean(axis=0) / np.maximum(other.mean(axis=0), SMALL) - 1))
