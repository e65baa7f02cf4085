"""Whether a Redis may drop what it was given, as a cache does.

A Redis with a limit of memory and one of the policies `allkeys-*` drops whole keys when it is full, and all
viewers of a layout are one key. See https://redis.io/docs/latest/develop/reference/eviction/.
"""

import logging
from typing import Any

import redis

from ranker.errors import StoreError

logger = logging.getLogger(__name__)

NO_EVICTION = "noeviction"


def warn_of_eviction(client: redis.Redis) -> None:
    """Log a warning if Redis may drop records and feature states."""
    policy = eviction_policy(client)
    if policy is not None and policy.startswith("allkeys-"):
        logger.warning(
            "Redis may evict what is stored: expected maxmemory-policy %s, found %s; %s",
            NO_EVICTION,
            policy,
            f"CONFIG SET maxmemory-policy {NO_EVICTION}, or name another server with --redis-url",
        )


def eviction_policy(client: redis.Redis) -> str | None:
    """The server's `maxmemory-policy`; None if it has no limit of memory, or does not tell.

    A managed server often forbids CONFIG and hides fields of INFO.
    """
    found = _settings(client)
    if int(found.get("maxmemory", 1) or 0) == 0:
        return None
    policy = found.get("maxmemory_policy", found.get("maxmemory-policy"))
    return None if policy is None else str(policy)


def dropped(what: str, key: str, *, expected: int, found: int, client: redis.Redis) -> StoreError:
    """The error that says that Redis holds less than it was given and acknowledged.

    Args:
        what: What is counted.
        key: Where.
        expected: How many were written.
        found: How many there are.
        client: Of the server.
    """
    policy = eviction_policy(client)
    cause = "it was emptied meanwhile, or keeps its data nowhere and was started again"
    if policy is not None and policy != NO_EVICTION:
        cause = f"its maxmemory-policy is {policy}, with which it evicts keys when its memory is full"
    return StoreError(
        f"{key}: expected Redis to hold the {expected:,} {what} that it took, found {found:,}: {cause}; "
        f"give it more memory (maxmemory) and maxmemory-policy {NO_EVICTION}, then run the same command again"
    )


def _settings(client: redis.Redis) -> dict[str, Any]:
    """What INFO says of memory or, where it does not say it, CONFIG GET; empty if both are forbidden."""
    for ask in (lambda: client.info("memory"), lambda: client.config_get("maxmemory*")):
        try:
            found: Any = ask()
        except redis.RedisError:  # forbidden, or unknown to a server that is not Redis itself
            continue
        if found.keys() & {"maxmemory_policy", "maxmemory-policy"}:
            return dict(found)
    return {}
