"""The paths of the HTTP interface."""

from dataclasses import replace
from time import perf_counter
from typing import Annotated
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import APIRouter, Depends, Path, Request, Response

from ranker.errors import InvalidRequestError, Mistake
from ranker.features.entity_ids import id_text
from ranker.features.kinds.cross import CrossFeature
from ranker.features.kinds.learned import StateFeature
from ranker.features.sides import Side
from serving.answers import (
    EventsResponse,
    FeatureInfo,
    Health,
    ModelResponse,
    RankResponse,
    Readiness,
    ScorePolicyInfo,
    StateFeatureInfo,
    TaskInfo,
)
from serving.event_requests import EventsRequest
from serving.feedback import FeedbackService
from serving.http import problems
from serving.http.deadline import Arrival
from serving.http.endpoints import EVENTS, HEALTH, MODEL, RANK, READINESS, USER, USERS, VIDEO, VIDEOS
from serving.http.json_body import JsonRoute
from serving.http.problem_documents import described
from serving.ranking import RankingService
from serving.requests import RankRequest, RecordInput

router = APIRouter(route_class=JsonRoute)


def ranking_service(request: Request) -> RankingService:
    """The app's ranking service."""
    service: RankingService = request.app.state.ranking
    return service


def feedback_service(request: Request) -> FeedbackService:
    """The app's service for events."""
    service: FeedbackService = request.app.state.feedback
    return service


async def path_id(request: Request, id: Annotated[str, Path(description="Percent-encoded.")]) -> str:
    """The id at the end of the path: the bytes that it spells, which the server has decoded leniently.

    Raises:
        InvalidRequestError: They are no UTF-8, or no id.
    """
    path: bytes = request.scope["raw_path"]
    before = request.scope["path"].encode().removesuffix(id.encode())
    try:
        return id_text(unquote_to_bytes(path)[len(before) :].decode())
    except UnicodeDecodeError as error:
        detail = f"expected an id of percent-encoded UTF-8, found {path!r:.80}"
        raise InvalidRequestError([Mistake("/id", detail)]) from error
    except ValueError as error:
        raise InvalidRequestError([Mistake("/id", str(error))]) from error


DeletedId = Annotated[str, Depends(path_id)]
Ranking = Annotated[RankingService, Depends(ranking_service)]
Feedback = Annotated[FeedbackService, Depends(feedback_service)]


@router.post(RANK.path, response_model=RankResponse, responses=described(400, 413, 415, 422))
async def rank(body: RankRequest, request: Request, ranking: Ranking) -> Response:
    """Rank candidate videos for one viewer.

    Features of the viewer, the query video and the candidates are taken from the feature store; a column
    that the request carries replaces the stored one. The header X-Timeout-Ms or `timeout_ms` in the body
    says how long the answer is of use: work that has not begun by then is not done.
    """
    state = request.state
    arrival = Arrival(state.request_id, state.started, state.deadline).within(body.timeout_ms)
    body_bytes, candidates = len(await request.body()), len(body.candidates)
    request.app.state.admission.confirm(state.ticket, body_bytes, candidates, arrival.deadline)
    answer = await ranking.rank(body, replace(arrival, place=state.ticket.place))
    state.ticket.served = True
    content = orjson.dumps(answer)
    state.scored = perf_counter()
    return Response(content, media_type="application/json")


@router.put(USERS.path, status_code=204, responses=described(400, 413, 415, 422, 503))
async def put_user(body: RecordInput, ranking: Ranking) -> None:
    """Store a viewer's features in place of what is there: columns that are left out are missing."""
    await ranking.put_user(body)


@router.put(VIDEOS.path, status_code=204, responses=described(400, 413, 415, 422, 503))
async def put_video(body: RecordInput, ranking: Ranking) -> None:
    """Store a video's features in place of what is there: columns that are left out are missing.

    Every service that uses the same feature store ranks with them within a second.
    """
    await ranking.put_video(body)


@router.delete(USER.route, status_code=204, responses=described(422, 503))
async def delete_user(id: DeletedId, ranking: Ranking) -> None:
    """Forget a viewer, whether or not anything is stored.

    Features are deleted at once. Every service forgets the viewer's rates, history and ages within two
    seconds, in states that are stored later as well. What is known of the viewer together with other values
    is forgotten for values of resident videos and known categories. Trained weights stay until the next
    training, which learns again what the log still holds.
    """
    await ranking.delete_user(id)


@router.delete(VIDEO.route, status_code=204, responses=described(422, 503))
async def delete_video(id: DeletedId, ranking: Ranking) -> None:
    """Forget a video, whether or not anything is stored, as `DELETE /v1/users/{id}` does a viewer.

    It also leaves the viewers' histories. What is known of it together with viewers stays until it is the
    least recently used.
    """
    await ranking.delete_video(id)


@router.post(EVENTS.path, response_model=EventsResponse, responses=described(400, 413, 415, 422, 503))
async def take_events(body: EventsRequest, feedback: Feedback) -> Response:
    """Take what viewers did with the videos that rankings returned.

    An answer with status 200 says that all events are in the log of events, or were set aside, each for its
    reason: a kind that the model does not have, a value out of the label's range, a time that is not
    plausible. Whoever gets no answer, or a 503, sends the same events again: each event id counts once.
    """
    return Response(orjson.dumps(await feedback.take(body)), media_type="application/json")


@router.get(MODEL.path)
async def model(ranking: Ranking) -> ModelResponse:
    """Describe the model that ranks: what it reads, what it predicts, how that becomes a score."""
    served = ranking.model
    spec, manifest = served.spec, served.manifest
    return ModelResponse(
        model_version=manifest.model_version,
        refused_version=ranking.refused_version,
        score_version=served.policies.default.version,
        spec=spec.name,
        watermark_ms=manifest.watermark_ms,
        features=[
            FeatureInfo(name=f.name, column=f.source_column, side=f.side, kind=f.kind)
            for f in spec.side(*Side)
        ],
        crosses={f.name: f.of for f in spec.features if isinstance(f, CrossFeature)},
        state_features=[_state_feature(feature) for feature in spec.state_features],
        state_watermark_ms=served.state.watermark_ms,
        tasks=[TaskInfo(name=t.name, group=t.group, kind=t.kind, unit=t.unit) for t in spec.tasks],
        score=spec.score,
        score_policies=[
            ScorePolicyInfo(
                name=policy.name,
                score_version=policy.version,
                contributions=policy.spec.contributions_are,
                score=policy.spec,
            )
            for policy in served.policies
        ],
        metrics=manifest.metrics,
    )


@router.head(HEALTH.path, include_in_schema=False)
@router.get(HEALTH.path)
async def healthz() -> Health:
    """Whether the process answers."""
    return Health()


@router.head(READINESS.path, include_in_schema=False)
@router.get(READINESS.path, responses=described(503))
async def readyz(ranking: Ranking) -> Readiness:
    """Whether requests are ranked, and whether the feature store answers.

    Without the feature store ranking goes on with what is resident and what requests carry, so it does not
    make the service unready.
    """
    if not await ranking.ready():
        raise problems.not_ready("expected the model to rank, found that its thread does not answer")
    store = "available" if await ranking.store_answers() else "unavailable"
    return Readiness(model_version=ranking.model.manifest.model_version, feature_store=store)


def _state_feature(feature: StateFeature) -> StateFeatureInfo:
    return StateFeatureInfo(
        name=feature.name, kind=feature.kind, of=feature.parts, labels=feature.counted_labels
    )
