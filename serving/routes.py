"""The paths of the HTTP interface."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ranker.errors import StoreError
from ranker.feature_spec import CrossFeature, Side
from serving import problems
from serving.json_body import JsonRoute
from serving.ranking import RankingService
from serving.schemas import (
    FeatureInfo,
    Health,
    ModelResponse,
    RankRequest,
    RankResponse,
    Readiness,
    TaskInfo,
)

router = APIRouter(route_class=JsonRoute)


def ranking_service(request: Request) -> RankingService:
    """The app's ranking service."""
    service: RankingService = request.app.state.ranking
    return service


Ranking = Annotated[RankingService, Depends(ranking_service)]


@router.post("/v1/rank", response_model_exclude_none=True, responses=problems.described(400, 413, 415, 422))
async def rank(body: RankRequest, request: Request, ranking: Ranking) -> RankResponse:
    """Rank candidate videos for one viewer.

    Features of the viewer, the query video and the candidates are taken from the feature store; a column
    that the request carries replaces the stored one.
    """
    return await ranking.rank(body, request_id=request.state.request_id, started=request.state.started)


@router.get("/v1/model")
async def model(ranking: Ranking) -> ModelResponse:
    """Describe the model that ranks: what it reads, what it predicts, how that becomes a score."""
    spec, manifest = ranking.spec, ranking.manifest
    return ModelResponse(
        model_version=manifest.model_version,
        score_version=ranking.formula.version,
        spec=spec.name,
        watermark_ms=manifest.watermark_ms,
        features=[
            FeatureInfo(name=f.name, column=f.source_column, side=f.side, kind=f.kind)
            for f in spec.side(*Side)
        ],
        crosses={f.name: f.of for f in spec.features if isinstance(f, CrossFeature)},
        tasks=[TaskInfo(name=t.name, group=t.group, kind=t.kind, unit=t.unit) for t in spec.tasks],
        score=spec.score,
        metrics=manifest.metrics,
    )


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process answers."""
    return Health()


@router.get("/readyz", responses=problems.described(503))
async def readyz(ranking: Ranking) -> Readiness:
    """Whether requests are ranked with a model and stored features; the process starts only with a model."""
    try:
        await ranking.ready()
    except StoreError as error:
        raise problems.not_ready(str(error)) from error
    return Readiness(model_version=ranking.manifest.model_version)
