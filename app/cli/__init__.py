"""`leo`: one module a command; each is known once it is imported here."""

from app.cli import evaluate, keys, serve, train
from app.cli.common import app

__all__ = ["app", "evaluate", "keys", "main", "serve", "train"]


def main() -> None:
    """The `leo` command."""
    app()
