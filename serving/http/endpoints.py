"""The one list of the service's paths, and of the role that each needs.

`serving/routes.py`, `metrics_route.py` and `docs_route.py` serve them, `auth` checks the roles, `admission`
bounds and times the requests of `RANK`, and `metrics` counts requests by these paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from starlette.convertors import Convertor, register_url_convertor

from serving.http.roles import Role

OTHER: Final = "other"
"""Names all paths that are not listed: there are as many as callers make up."""


class IdConvertor(Convertor[str]):
    """Matches an id in a path, which may hold slashes and ends of lines."""

    name: ClassVar[str] = "entity_id"
    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor(IdConvertor.name, IdConvertor())


@dataclass(frozen=True)
class Endpoint:
    """A path of the service.

    Attributes:
        path: The path; `{id}` at its end stands for an id, which may have slashes.
        role: The role that a key needs; None if the path is open to callers without a key.
    """

    path: str
    role: Role | None

    @property
    def route(self) -> str:
        """The path as a router takes it."""
        return self.path.replace("{id}", f"{{id:{IdConvertor.name}}}")


RANK: Final = Endpoint("/v1/rank", Role.RANK)
MODEL: Final = Endpoint("/v1/model", Role.RANK)
METRICS: Final = Endpoint("/metrics", Role.RANK)
VIDEOS: Final = Endpoint("/v1/videos", Role.WRITE)
USERS: Final = Endpoint("/v1/users", Role.WRITE)
VIDEO: Final = Endpoint("/v1/videos/{id}", Role.WRITE)
USER: Final = Endpoint("/v1/users/{id}", Role.WRITE)
EVENTS: Final = Endpoint("/v1/events", Role.WRITE)
HEALTH: Final = Endpoint("/healthz", None)
READINESS: Final = Endpoint("/readyz", None)
DOCS: Final = Endpoint("/docs", None)
DOCS_SCRIPT: Final = Endpoint("/docs/swagger-ui.js", None)
DOCS_STYLE: Final = Endpoint("/docs/swagger-ui.css", None)
OPENAPI: Final = Endpoint("/openapi.json", None)

ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    endpoint.path: endpoint
    for endpoint in (
        *(RANK, MODEL, METRICS, VIDEOS, USERS, VIDEO, USER, EVENTS, HEALTH, READINESS),
        *(DOCS, DOCS_SCRIPT, DOCS_STYLE, OPENAPI),
    )
}
"""By path."""
_OF_IDS: Final = {
    endpoint.path.removesuffix("{id}"): endpoint
    for endpoint in ENDPOINTS.values()
    if endpoint.path.endswith("{id}")
}
"""Those that end with an id, by what comes before it."""


def endpoint_of(path: str) -> Endpoint | None:
    """The endpoint that a request's path leads to; None if there is none."""
    if path in ENDPOINTS:
        return ENDPOINTS[path]
    for before, endpoint in _OF_IDS.items():
        if path.startswith(before) and len(path) > len(before):
            return endpoint
    return None


def label_of(path: str) -> str:
    """What metrics and logs call a request's path: without ids, and `OTHER` if it is not listed."""
    endpoint = endpoint_of(path)
    return OTHER if endpoint is None else endpoint.path


def needed_role(path: str) -> Role | None:
    """The role that a request's path needs: `admin` for one that is not listed; None for an open one."""
    endpoint = endpoint_of(path)
    return Role.ADMIN if endpoint is None else endpoint.role
