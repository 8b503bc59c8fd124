"""`leo`: one module a command; each is known once it is imported here."""

from app.cli import compare, evaluate, serve, train
from app.cli.common import app

__all__ = ["app", "compare", "evaluate", "main", "serve", "train"]


def main() -> None:
    """The `leo` command."""
    app()
