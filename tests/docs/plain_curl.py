"""The few options of curl that the pages use, for machines without it."""

import argparse
import sys
import urllib.error
import urllib.request

parser = argparse.ArgumentParser(prefix_chars="-")
parser.add_argument("-s", action="store_true")
parser.add_argument("-X", default=None)
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-d", default=None)
parser.add_argument("url")

if __name__ == "__main__":
    given = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in given.H)
    body = None if given.d is None else given.d.encode()
    method = given.X or ("GET" if body is None else "POST")
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://{given.url}", body, headers, method=method), timeout=30
        ) as answer:
            sys.stdout.write(answer.read().decode())
    except urllib.error.HTTPError as error:  # curl prints an error's body as well
        sys.stdout.write(error.read().decode())
