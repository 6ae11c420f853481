"""Why a build ends: a line for the person at the terminal."""

from __future__ import annotations

from pathlib import Path


class BuildError(Exception):
    """What is wrong, and what to do; the command exits with 2."""


OFFLINE = Path(__file__).resolve().parents[1]
ANDROID = OFFLINE.parent
REPOSITORY = ANDROID.parent
