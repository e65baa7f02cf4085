"""Names of the keys in Redis; every key of watchnext starts with the same prefix."""

from typing import Final

PREFIX: Final = "watchnext:"


def user_key(user_id: str) -> str:
    """Where a user's stored features stand, as one JSON object of columns."""
    return f"{PREFIX}user:{user_id}"


def video_key(video_id: str) -> str:
    """Where a video's stored features stand, as one JSON object of columns."""
    return f"{PREFIX}video:{video_id}"
