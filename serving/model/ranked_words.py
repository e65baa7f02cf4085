"""What a request was ranked with, word by word, for those who keep it.

Shape letters: C candidates, W words of a record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ranker.features.encoder import Encoder
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import Group


class WordLayouts:
    """How the words of a bundle's requests are laid out.

    Args:
        encoder: Of the bundle.

    Attributes:
        request: Layout of the records of requests.
        candidates: Layout of the records of candidates.
        pairs: Layout of what a request may carry of viewer and candidate together: the columns of side pair.
        by_digest: The three by their digests.
        digests: Those of the three, in this order.
        widths: Words of a record of each.
        seed: Of the hash.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.seed = encoder.spec.hash_seed
        self.request = encoder.impression_records[Group.REQUEST]
        self.candidates = encoder.impression_records[Group.CANDIDATE]
        self.pairs = encoder.impression_records[Group.PAIR]
        layouts = (self.request, self.candidates, self.pairs)
        self.digests = (self.request.digest, self.candidates.digest, self.pairs.digest)
        self.by_digest: Mapping[str, RecordLayout] = dict(zip(self.digests, layouts, strict=True))
        self.widths = (self.request.words, self.candidates.words, self.pairs.words)


@dataclass
class RankedWords:
    """What a request was ranked with; the model's thread fills it in.

    Attributes:
        request: (1, W) the record of the request.
        candidates: (C, W) those of the candidates.
        pairs: (C, W) what the request carried of viewer and candidate together; W may be 0.
        state_ms: Up to when the feature state had learned; None if it had learned nothing.
    """

    request: Words = field(init=False)
    candidates: Words = field(init=False)
    pairs: Words = field(init=False)
    state_ms: int | None = field(init=False)
