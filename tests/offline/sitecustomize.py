"""Run by every Python process that a test starts, as this folder is on PYTHONPATH: no network there."""

import network_guard

network_guard.block()
