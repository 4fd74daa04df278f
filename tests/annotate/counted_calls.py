"""Calls and fits of an extractor noted in a file, for tests that count what another process did."""

import os
import time


def note_calls(extractor, log, pause):
    """Every call and fit of the class appends a line to ``log``; calls then wait ``pause`` seconds."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    plain_call, plain_fit = extractor.__call__, extractor.fit

    def call(self, batch):
        made = plain_call(self, batch)
        os.write(file, f"call {len(batch)}\n".encode())
        time.sleep(float(pause))
        return made

    def fit(self, *args, **named):
        os.write(file, b"fit\n")
        return plain_fit(self, *args, **named)

    extractor.__call__, extractor.fit = call, fit
