"""Answers of the HTTP interface."""

from typing import Any, Literal

from pydantic import Field

from ranker.features.sides import Side
from ranker.score.registry import KINDS, AnyScoreSpec, combine_of
from ranker.stream.feedback import Reason
from serving.requests import Schema


class Unknown(Schema):
    """Who was ranked without features: nothing is stored and the request carries none."""

    user: bool | None = Field(
        description="null: the store did not answer, or had what could not be read, so nobody knows."
    )
    videos: list[str] = Field(description="Candidates, and the query video, in the request's order.")
    unanswered_videos: list[str] = Field(
        [],
        description="Those that were ranked without features because the store did not answer, or had what "
        "could not be read; present only then.",
    )


class RankedVideo(Schema):
    """One candidate in its place."""

    id: str = Field(description="The candidate's id, as text.")
    position: int = Field(description="1 is the best.")
    score: float = Field(description="What it was ranked by, together with its position.")
    predictions: dict[str, float] = Field(description="Each head's probability, seconds, stars, ...")
    contributions: dict[str, float] | None = Field(
        None,
        description="What each term contributes; present when asked for. By how the score policy combines "
        f"them: {'; '.join(f'{combine_of(kind)}, {kind.contributions_are}' for kind in KINDS)}.",
    )


class RankResponse(Schema):
    """The ranked videos, best first."""

    request_id: str = Field(description="Also the header X-Request-ID.")
    model_version: str = Field(description="The bundle that predicted.")
    score_policy: str = Field(description="The score policy that ranked.")
    score_version: str = Field(description="A short hash of the policy's terms.")
    took_ms: float = Field(description="Time in the service.")
    unknown: Unknown = Field(description="Who was ranked without features.")
    degraded: list[str] = Field(
        description="What was missing when this was ranked. `feature_store`: Redis did not answer, so "
        "neither the viewer's features nor those of videos that were not resident were used; "
        "`stored_features`: a stored record could not be read and was left out; `impressions`: what is shown "
        "here is not, or not yet, in the log of events, so feedback on it may not count."
    )
    state_age_s: float | None = Field(
        description="Seconds from the newest event that the features of the state know to the time of the "
        "request, negative if it was made before; null if the model has no such features."
    )
    state_stale: bool = Field(
        description="Whether that is longer than the longest half-life of the model's rates: then they have "
        "decayed to what holds of everyone, and `watchnext features state` brings them up to date."
    )
    items: list[RankedVideo] = Field(description="The candidates, best first, at most `limit`.")


class RejectedEvent(Schema):
    """An event that was set aside: it does not count, and sending it again as it is does not help."""

    index: int = Field(description="Which of the events it is, counted from 0.")
    event_id: str
    reason: Reason
    detail: str = Field(description="What was expected, and what was found.")


class EventsResponse(Schema):
    """What became of some events; those that are written are in the log of events for good."""

    written: int = Field(description="How many were written.")
    rejected: list[RejectedEvent] = Field(description="Those that were set aside.")


class FeatureInfo(Schema):
    """A feature that the model uses."""

    name: str
    column: str = Field(description="The key in `features` or `context` of a request.")
    side: Side
    kind: str


class StateFeatureInfo(Schema):
    """A feature that learns from the stream."""

    name: str
    kind: str
    of: tuple[str, ...] = Field(description="The features that it is counted by, or made of.")
    labels: tuple[str, ...] = Field(description="The tasks whose labels it counts, or that admit a video.")


class TaskInfo(Schema):
    """A head of the model."""

    name: str
    group: str
    kind: str
    unit: str | None


class ScorePolicyInfo(Schema):
    """A way to turn predictions into an order."""

    name: str = Field(description="What a request calls it.")
    score_version: str
    contributions: str = Field(description="What the contributions of an explained ranking are.")
    score: AnyScoreSpec


class ModelResponse(Schema):
    """The model that ranks, and how its predictions become a score."""

    model_version: str
    refused_version: str | None = Field(
        None,
        description="The registry's current version, if it is damaged or cannot be prepared, and so another "
        "one ranks in its place; null if the current one ranks.",
    )
    score_version: str = Field(description="Of the default score policy.")
    spec: str = Field(description="The spec's name.")
    watermark_ms: int | None = Field(description="The model has seen events up to this time, UTC.")
    features: list[FeatureInfo]
    crosses: dict[str, tuple[str, ...]] = Field(description="Combinations of features, by name.")
    state_features: list[StateFeatureInfo] = Field(
        description="What is known of viewers, videos and pairs of both at the time of a request."
    )
    state_watermark_ms: int | None = Field(
        description="The state features know of events up to this time, UTC; later than `watermark_ms` if "
        "they were brought up to date since the training."
    )
    tasks: list[TaskInfo]
    score: AnyScoreSpec = Field(description="Of the default score policy.")
    score_policies: list[ScorePolicyInfo] = Field(
        description="What a request may choose from, the default one first."
    )
    metrics: dict[str, Any] = Field(description="As measured in training.")


class Health(Schema):
    """The process answers."""

    status: str = "ok"


class Readiness(Schema):
    """The service ranks."""

    status: str = "ready"
    model_version: str
    feature_store: Literal["available", "unavailable"] = Field(
        description="Whether Redis answers; without it rankings lack stored features that are not resident."
    )
