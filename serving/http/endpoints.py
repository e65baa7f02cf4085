"""The one list of the service's paths, and of the role that each needs.

`serving/routes.py`, `metrics_route.py` and `docs_route.py` serve them, `auth` checks the roles, `admission`
bounds and times the requests of `RANK`, and `metrics` counts requests by these paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from serving.http.roles import Role


@dataclass(frozen=True)
class Endpoint:
    """A path of the service.

    Attributes:
        path: The path.
        role: The role that a key needs; None if the path is open to callers without a key.
    """

    path: str
    role: Role | None


RANK: Final = Endpoint("/v1/rank", Role.RANK)
MODEL: Final = Endpoint("/v1/model", Role.RANK)
METRICS: Final = Endpoint("/metrics", Role.RANK)
VIDEOS: Final = Endpoint("/v1/videos", Role.WRITE)
USERS: Final = Endpoint("/v1/users", Role.WRITE)
HEALTH: Final = Endpoint("/healthz", None)
READINESS: Final = Endpoint("/readyz", None)
DOCS: Final = Endpoint("/docs", None)
DOCS_SCRIPT: Final = Endpoint("/docs/swagger-ui.js", None)
DOCS_STYLE: Final = Endpoint("/docs/swagger-ui.css", None)
OPENAPI: Final = Endpoint("/openapi.json", None)

ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    endpoint.path: endpoint
    for endpoint in (
        *(RANK, MODEL, METRICS, VIDEOS, USERS, HEALTH, READINESS),
        *(DOCS, DOCS_SCRIPT, DOCS_STYLE, OPENAPI),
    )
}
"""By path."""


def needed_role(path: str) -> Role | None:
    """The role that a path needs: `admin` for one that is not listed; None for an open one."""
    endpoint = ENDPOINTS.get(path)
    return Role.ADMIN if endpoint is None else endpoint.role
