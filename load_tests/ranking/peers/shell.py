"""A usual HTTP service: FastAPI, pydantic models and a `def` endpoint, on uvicorn with uvloop."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel

from load_tests.ranking.peers.resident import Resident

Model = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class User(BaseModel):
    """The viewer."""

    id: str


class Candidate(BaseModel):
    """A video to be scored."""

    id: str
    features: dict[str, float]


class RankRequest(BaseModel):
    """The body of `POST /v1/rank`."""

    user: User
    query_video_id: str
    context: dict[str, int]
    candidates: list[Candidate]
    limit: int


def serve(load: Callable[[Path, str], Model]) -> None:
    """Read the command line, load a model and serve it.

    Args:
        load: Returns the model for the world's folder and a precision.
    """
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--world", type=Path, required=True)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--precision", default="float32")
    given = arguments.parse_args()
    resident, model = Resident(given.world), load(given.world, given.precision)
    app = FastAPI()

    @app.post("/v1/rank")
    def rank(request: RankRequest) -> dict[str, Any]:
        body = request.model_dump()
        return resident.answer(body, model(resident.input(body)))

    uvicorn.run(app, host="127.0.0.1", port=given.port, access_log=False, log_level="warning")
