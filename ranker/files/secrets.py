"""URLs as messages, logs and bundles show them: without user names, passwords and tokens.

A password that contains `/`, `?` or `#` and was not percent-encoded ends, for a parser, in another part of
the URL than the user name. So what is removed reaches to the last `@` if a password can have begun before it.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

HIDDEN: Final = "***"
_USER: Final = re.compile(r"(?<=://)[^/?#]*@")
"""A user name and password whose marks are percent-encoded."""
_USER_WITH_MARKS: Final = re.compile(r"(?<=://)[^/?#@]*:(?!\d+(?:[/?#]|$)).*@")
"""A user name and a password with bare marks: what follows the colon is no port."""
_OPTIONS: Final = re.compile(r"[?#].*=.*$", re.DOTALL)
_WEB_OPTIONS: Final = re.compile(r"[?#;].*$", re.DOTALL)


def shown(url: str) -> str:
    """Return a URL without user name, password and options; a path without a scheme as it is."""
    if "::" in url:  # filesystems of fsspec on top of each other
        return "::".join(shown(part) for part in url.split("::"))
    scheme, separator, _ = url.partition("://")
    if not separator or scheme in ("file", "local"):
        return url
    bare = _USER.sub("", _USER_WITH_MARKS.sub("", url))
    return (_WEB_OPTIONS if scheme in ("http", "https") else _OPTIONS).sub("", bare)


def censored(text: str, urls: Iterable[str]) -> str:
    """Return a text, such as a library's message, without what `shown` removes from some URLs.

    Args:
        text: May quote the URLs, or parts of them, as they are or decoded.
        urls: Any words; those that are no URLs with secrets change nothing.
    """
    for url in urls:
        if shown(url) != url:
            text = text.replace(url, shown(url))
            for secret in sorted(_secrets(url), key=len, reverse=True):
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def _secrets(url: str) -> set[str]:
    """The passwords and the values of options in a URL, whole and in parts, as written and decoded."""
    users = [match.rstrip("@") for match in (*_USER.findall(url), *_USER_WITH_MARKS.findall(url))]
    passwords = [user.partition(":")[2] or user for user in users]
    options = [
        pair.partition("=")[2] or pair for part in re.split(r"[?#;]", url)[1:] for pair in part.split("&")
    ]
    parts = [part for password in passwords for part in re.split(r"[/?#]", password)]
    found = {word for word in (*passwords, *parts, *options) if len(word) > 2}
    return found | {unquote(word) for word in found}
