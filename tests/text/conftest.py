"""One trained encoder for all tests of the room."""

import pytest

from windvane.data import digits, train_and_held_out
from windvane.text import train_text_encoder


@pytest.fixture(scope="session")
def halves():
    return train_and_held_out(digits(), seed=0)


@pytest.fixture(scope="session")
def encoder(halves):
    return train_text_encoder(halves[0], steps=150, batch_size=128, width=16, seed=3, progress=False)
