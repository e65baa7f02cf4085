"""Where the commands of training write: results to standard output, the log to standard error."""

import logging

from rich.console import Console


def results_console() -> Console:
    """Return the console for results; the log goes to standard error, so that --json prints only JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return Console()
