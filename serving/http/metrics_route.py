"""The route at which Prometheus scrapes the metrics."""

from typing import Final

from fastapi import APIRouter, Request, Response

from serving.http.endpoints import METRICS

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter()


@router.get(METRICS.path, response_class=Response)
def exposition(request: Request) -> Response:
    """What the service has counted, for Prometheus."""
    # Always the text format: the library's choice among formats trusts what the Accept header says.
    return Response(request.app.state.metrics.exposition(), headers={"Content-Type": MEDIA_TYPE})
