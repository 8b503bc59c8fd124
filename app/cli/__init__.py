"""`leo`: one module a command; each is known once it is imported here."""

from app.cli import bench, card, classify, compare, evaluate, keys, narrow, serve, tasks, train
from app.cli.common import app

__all__ = [
    "app",
    "bench",
    "card",
    "classify",
    "compare",
    "evaluate",
    "keys",
    "main",
    "narrow",
    "serve",
    "tasks",
    "train",
]


def main() -> None:
    """The `leo` command."""
    app()
