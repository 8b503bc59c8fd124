"""The models that come with this library, by name."""

from pathlib import Path

#: Beside this package, in a clone and where it is installed: a folder for each model.
WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


def model_folder(name: str | Path) -> Path:
    """Return the folder of a model: `name` itself if a model is there, else the shipped model of this name."""
    path = Path(name)
    shipped = WEIGHTS / path
    return shipped if not (path / "config.json").exists() and shipped.is_dir() else path
