"""What a service's metrics say."""


def told(metrics, what):
    """The value of the one series whose line in the exposition begins so."""
    [line] = [line for line in metrics.exposition().decode().splitlines() if line.startswith(what)]
    return float(line.split()[-1])
