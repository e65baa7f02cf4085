"""Check of answers against the predictions of their version, with a state that it may have had then."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from load_tests.ranking.world import World
from load_tests.soaking.stream import Ranked, Stream
from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.events import QUERY_VIDEO_ID, USER_ID, VIDEO_ID

TOLERANCE: Final = 0.01
"""Allowed difference of a probability, because the service computes in bfloat16 where that is fast."""

TOLD_APART_EVERY: Final = 10
"""One in so many answers is also compared with another bundle."""


@dataclass
class Verified:
    """The result of recomputing answers.

    Attributes:
        answers: Number of answers that were recomputed.
        wrong: Sentences about answers that their version cannot have given.
        largest: Largest difference of a probability from the named version's prediction.
        told_apart: Share of answers, of those that were compared with the next bundle, that it cannot have
            given.
        states_told_apart: The same share for the next state.
    """

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    largest: float = 0.0
    told_apart: float = 0.0
    states_told_apart: float = 0.0


def verify(world: World, stream: Stream, sample: Path, good: set[str], ranked: Sequence[Ranked]) -> Verified:
    """Recompute answers in float32 with the bundles they name, and with the features that were known.

    Args:
        world: The world with the features and the registry.
        stream: The log of the states.
        sample: File with the answers that the client kept.
        good: Versions that may rank.
        ranked: The time in which each state may have been ranked with.
    """
    registry = Registry(str(world.registry))
    bundles = {version: registry.read(version) for version in good}
    following = dict(zip(bundles, [*list(bundles)[1:], *list(bundles)[:1]], strict=True))
    saved = list(stream.states(registry.read()))
    states = {
        (v, part): stream.read_by(bundles[v], arrays) for v in good for part, arrays in enumerate(saved)
    }

    def off(version: str, part: int, kept: dict[str, Any]) -> float:
        bundle, body = bundles[version], world.requests[kept["request"]]
        bundle.encoder.feature_state = states[version, part]
        return _difference(world, bundle, body, kept["answer"], stream.request_ms)

    found, noticed, states_noticed = Verified(), list[bool](), list[bool]()
    with sample.open("rb") as lines:
        for line in lines:
            kept = json.loads(line)
            answer = kept["answer"]
            found.answers += 1
            version = answer["model_version"]
            if version not in bundles:
                found.wrong.append(f"an answer of {version}")
                continue
            parts = [each.part for each in ranked if each.since <= kept["done"] and kept["due"] <= each.until]
            difference, part = min((off(version, part, kept), part) for part in parts)
            found.largest = max(found.largest, difference)
            if difference > TOLERANCE:
                found.wrong.append(f"an answer of {version} at {kept['due']:.2f} is off by {difference:.3f}")
            if found.answers % TOLD_APART_EVERY == 0:
                noticed.append(off(following[version], part, kept) > TOLERANCE)
                states_noticed.append(off(version, (part + 1) % len(saved), kept) > TOLERANCE)
    found.told_apart = float(np.mean(noticed)) if noticed else 0.0
    found.states_told_apart = float(np.mean(states_noticed)) if states_noticed else 0.0
    return found


def _difference(
    world: World, bundle: Bundle, body: dict[str, Any], answer: dict[str, Any], time_ms: int
) -> float:
    """Return the largest difference between the answer's probabilities and the bundle's."""
    tasks = [task.name for task in bundle.spec.tasks if task.is_probability]
    binary = [index for index, task in enumerate(bundle.spec.tasks) if task.is_probability]
    given = np.array([[item["predictions"][task] for task in tasks] for item in answer["items"]])
    return float(np.abs(given - _expected(world, bundle, body, answer, time_ms)[:, binary]).max())


def _expected(
    world: World, bundle: Bundle, body: dict[str, Any], answer: dict[str, Any], time_ms: int
) -> NDArray[np.float64]:
    """Predict the answer's videos with the bundle, and with the features that were known to the answer."""
    joined = world.joined(body)
    request = dict(joined.request)
    unknown = {*answer["unknown"]["videos"], *answer["unknown"].get("unanswered_videos", ())}
    if answer["unknown"]["user"] is not False:
        request = {name: value for name, value in request.items() if name not in bundle.spec.user_columns}
        request[USER_ID] = body["user"]["id"]
    if body["query_video_id"] in unknown:
        request = {name: value for name, value in request.items() if not name.startswith("query_")}
        request[QUERY_VIDEO_ID] = body["query_video_id"]
    carried = {candidate["id"]: candidate["features"] for candidate in body["candidates"]}
    candidates = [
        {VIDEO_ID: item["id"], **carried[item["id"]]}
        if item["id"] in unknown
        else {**world.videos[int(item["id"])], **carried[item["id"]]}
        for item in answer["items"]
    ]
    return bundle.predict(request, candidates, time_ms=time_ms)
