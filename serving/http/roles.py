"""Roles of API keys."""

from enum import StrEnum


class Role(StrEnum):
    """What a key is for; each role may also do what those before it may."""

    RANK = "rank"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what the other is needed for."""
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)
