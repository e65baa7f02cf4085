"""What every way of combining terms into a score has in common.

Shape letters: C candidates, K terms of the score.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from ranker.did_you_mean import did_you_mean
from ranker.score.terms import Floats, ScoreTerm
from ranker.spec_model import SpecModel, refuse_doubles


class ScoreSpec(SpecModel, ABC):
    """Terms, and how they become the one number that candidates are ranked by.

    A subclass is a way of combining them: it adds its name as `combine`, and says what it does not allow in
    a term, what a term contributes, and what the score is.
    """

    contributions_are: ClassVar[str]
    """What the contributions of an explained ranking are, such as `parts of the score`."""

    combine: str
    terms: tuple[ScoreTerm, ...] = Field(min_length=1, description="The heads that count, each once.")

    @property
    def version(self) -> str:
        """A name by its content: the first 12 hex digits of the SHA-256 of its canonical JSON."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @abstractmethod
    def contributions(self, weight_k: Floats, base_ck: Floats) -> Floats:
        """What every term adds to the rank key, which is the sum of them.

        Args:
            weight_k: (K,) the terms' weights.
            base_ck: (C, K) offset + transform(prediction), finite.

        Returns:
            (C, K), never NaN; what is infinite or too large is clipped to `terms.LIMIT` by the caller.
        """

    @abstractmethod
    def score(self, rank_key_c: Floats) -> Floats:
        """The score that is shown.

        Args:
            rank_key_c: (C,) finite, what candidates are sorted by.

        Returns:
            (C,) finite, never falling where the rank key rises.
        """

    def check_term(self, term: ScoreTerm) -> None:
        """Refuse what this way of combining cannot compute; by default nothing.

        Raises:
            ValueError: The message names the term.
        """

    def check_heads(self, tasks: Sequence[str], *, where: str) -> None:
        """Check that every term's head is one of the tasks.

        Args:
            tasks: Their names.
            where: Whose terms these are, for the message.

        Raises:
            ValueError: A head is none of them.
        """
        for term in self.terms:
            if term.head not in tasks:
                raise ValueError(
                    f"{where} term: expected a head out of {', '.join(tasks)}, found '{term.head}'"
                    f"{did_you_mean(term.head, tasks)}"
                )

    @model_validator(mode="after")
    def _heads_once_and_terms_allowed(self) -> Self:
        refuse_doubles([term.head for term in self.terms], "score terms for head")
        for term in self.terms:
            self.check_term(term)
        return self
