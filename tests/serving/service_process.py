"""`watchnext serve` as a process of its own, as anyone would start it."""

import re
import subprocess
import sys
import threading
from contextlib import contextmanager

SERVE = [sys.executable, "-m", "watchnext", "serve"]


@contextmanager
def service_process(*arguments):
    """Run the service on a free port; yield the process and the URL that it announced."""
    command = [*SERVE, "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        rest = threading.Thread(target=process.stderr.read)  # or its log would fill the pipe
        try:
            log_lines = []
            for line in process.stderr:
                log_lines.append(line)
                if announced := re.search(r"serving \S+ at (http://\S+)", line):
                    break
            else:
                raise AssertionError("".join(log_lines))
            rest.start()
            yield process, announced[1]
        finally:
            process.terminate()
            process.wait()
            if rest.ident:
                rest.join()
