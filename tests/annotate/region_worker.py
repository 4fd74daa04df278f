"""Runs `windvane` in this process and notes every call of the dense features in a file, for a test to count.

python -m tests.annotate.region_worker LOG PAUSE WORD...: PAUSE is a wait in seconds after each call.
"""

import os
import sys
import time

from windvane.annotate.dense import Restoration


def main(log, pause, *words):
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    plain_call, plain_fit = Restoration.__call__, Restoration.fit

    def call(self, batch):
        made = plain_call(self, batch)
        os.write(file, f"call {len(batch)}\n".encode())
        time.sleep(float(pause))
        return made

    def fit(self, *args, **named):
        os.write(file, b"fit\n")
        return plain_fit(self, *args, **named)

    Restoration.__call__, Restoration.fit = call, fit
    from windvane.cli import app

    app(list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
