"""JSON pointers.

Source: Bryan et al., RFC 6901, https://www.rfc-editor.org/rfc/rfc6901.
"""

from collections.abc import Sequence


def json_pointer(parts: Sequence[str | int]) -> str:
    """Point at a value inside a document by the keys and indices that lead to it."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
