"""Two versions of the small bundle, and where a registry keeps the first."""

import fsspec

from ranker.bundles.bundle import FILES, MANIFEST
from tests.ranker.bundles.small_bundle import packed, version_of

FIRST, SECOND = packed(seed=1), packed(seed=2)
FIRST_VERSION, SECOND_VERSION = version_of(FIRST), version_of(SECOND)
ORDER = [*FILES, MANIFEST]


def files(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    system, root = fsspec.core.url_to_fs(url)
    return system, f"{root}/bundles/{FIRST_VERSION}"
