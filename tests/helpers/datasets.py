"""Data sets that are too large for the repository."""

import os
from pathlib import Path

from app.settings import PROJECT

DATA = Path(os.environ.get("LEO_TEST_DATA", PROJECT.parent / "shared" / "data"))
