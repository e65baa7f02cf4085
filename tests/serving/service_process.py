"""`watchnext serve` as a process of its own, as anyone would start it."""

import re
import subprocess
import sys
import threading
from contextlib import contextmanager

from tests.serving.waiting import join

SERVE = [sys.executable, "-m", "watchnext", "serve"]


@contextmanager
def killed_after(seconds, process):
    """Kill a process if the block takes longer, so that whoever reads its output sees the end of it."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stop(process, seconds=60):
    """Ask a process to stop, and kill it if it does not; fail then."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"expected the service to stop within {seconds} s") from None


def announced_url(process):
    """Read the log until the service says where it serves."""
    log_lines = []
    with killed_after(120, process):
        for line in process.stderr:
            log_lines.append(line)
            if found := re.search(r"serving \S+ at (http://\S+)", line):
                return found[1]
    raise AssertionError("expected the service to start, found:\n" + "".join(log_lines))


@contextmanager
def service_process(*arguments):
    """Run the service on a free port; yield the process and the URL that it announced."""
    command = [*SERVE, "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        rest = threading.Thread(target=process.stderr.read)  # or its log would fill the pipe
        try:
            url = announced_url(process)
            rest.start()
            yield process, url
        finally:
            stop(process)
            if rest.ident:
                join(rest)
