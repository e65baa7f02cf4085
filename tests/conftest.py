"""One thread computes: with the small batches of the tests, more would mostly wait for each other."""

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # read when torch is imported, also by the processes of the tests
