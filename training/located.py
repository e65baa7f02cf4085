"""Naming the log and the row in errors of values, which know a batch at most."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ranker.errors import FeatureError, LabelError


@contextmanager
def located(where: str, first_row: int | Callable[[], int], what: str = "log") -> Iterator[None]:
    """Make errors of values say where: the source, and the row counted from the first of what was read.

    Args:
        where: The source's name.
        first_row: The row of the batch's first one, or what gives it when an error is raised.
        what: What the rows are of.

    Raises:
        FeatureError: The block raised one.
        LabelError: The block raised one.
    """
    try:
        yield
    except FeatureError as error:
        message, row = str(error), None
        if error.row is not None:
            row = (first_row() if callable(first_row) else first_row) + error.row
            message = f"{message.removesuffix(f' in row {error.row}')} in row {row} of the {what}"
        raise FeatureError(f"{where}: {message}", feature=error.feature, row=row) from error
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from error
