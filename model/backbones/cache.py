"""The folder that holds fetched weights of backbones, for all projects of a user."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder: `LEO_BACKBONES_DIR`, else `leo/backbones` in the user's cache folder (XDG)."""
    named = os.environ.get("LEO_BACKBONES_DIR")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leo" / "backbones"
