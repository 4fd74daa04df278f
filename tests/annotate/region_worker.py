"""Runs `windvane` in this process and notes every call of the dense features in a file, for a test to count.

python -m tests.annotate.region_worker LOG PAUSE WORD...: PAUSE is a wait in seconds after each call.
"""

import sys

from tests.annotate.counted_calls import note_calls
from windvane.annotate.dense import Restoration


def main(log, pause, *words):
    note_calls(Restoration, log, pause)
    from windvane.cli import app

    app(list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
