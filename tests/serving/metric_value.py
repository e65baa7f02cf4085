"""Reading one value out of a service's metrics."""


def metric_value(metrics, series):
    """The value of the one series whose line in the exposition starts with this text."""
    [line] = [line for line in metrics.exposition().decode().splitlines() if line.startswith(series)]
    return float(line.split()[-1])
