"""Whether answers are what the version that they name predicts."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from load_tests.ranking.world import World
from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.records import QUERY_VIDEO_ID, USER_ID, VIDEO_ID

TOLERANCE: Final = 0.01
"""Largest difference of a probability; the service computes in bfloat16 where that is fast."""

TOLD_APART_EVERY: Final = 10
"""One in so many answers is also compared with another bundle."""


@dataclass
class Verified:
    """What was found.

    Attributes:
        answers: How many were recomputed.
        wrong: Those that another version, or a mixture, must have made; the first few in words.
        largest: Largest difference of a probability from what the named version predicts.
        told_apart: Share of some of the answers in which the bundle next in line would have been noticed.
    """

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    largest: float = 0.0
    told_apart: float = 0.0


def verify(world: World, sample: Path, good: set[str]) -> Verified:
    """Recompute answers in float32 with the bundles they name, from the features they were ranked with.

    Args:
        world: Has the features and the registry.
        sample: Answers that the client kept.
        good: The versions that may rank.
    """
    registry = Registry(str(world.registry))
    bundles = {version: registry.read(version) for version in good}
    following = dict(zip(bundles, [*list(bundles)[1:], *list(bundles)[:1]], strict=True))
    found, noticed = Verified(), list[bool]()
    with sample.open("rb") as lines:
        for line in lines:
            kept = json.loads(line)
            answer = kept["answer"]
            found.answers += 1
            version = answer["model_version"]
            if version not in bundles:
                found.wrong.append(f"an answer of {version}")
                continue
            body = world.requests[kept["request"]]
            difference = _difference(world, bundles[version], body, answer)
            found.largest = max(found.largest, difference)
            if difference > TOLERANCE:
                found.wrong.append(f"an answer of {version} at {kept['due']:.2f} is off by {difference:.3f}")
            if found.answers % TOLD_APART_EVERY == 0:
                noticed.append(_difference(world, bundles[following[version]], body, answer) > TOLERANCE)
    found.told_apart = float(np.mean(noticed)) if noticed else 0.0
    return found


def _difference(world: World, bundle: Bundle, body: dict[str, Any], answer: dict[str, Any]) -> float:
    """The largest difference between the answer's probabilities and the bundle's."""
    tasks = [task.name for task in bundle.spec.tasks if task.kind == "binary"]
    places = [place for place, task in enumerate(bundle.spec.tasks) if task.kind == "binary"]
    given = np.array([[item["predictions"][task] for task in tasks] for item in answer["items"]])
    return float(np.abs(given - _expected(world, bundle, body, answer)[:, places]).max())


def _expected(
    world: World, bundle: Bundle, body: dict[str, Any], answer: dict[str, Any]
) -> NDArray[np.float64]:
    """What the bundle predicts for the answer's videos with the features that the answer says were known."""
    joined = world.joined(body)
    request = dict(joined.request)
    unknown = set(answer["unknown"]["videos"])
    if answer["unknown"]["user"]:
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
    return bundle.predict(request, candidates)
