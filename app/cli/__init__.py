"""The `leo` command. Each module here is one command, or what several share; importing it registers the command."""

from app.cli import bench, card, classify, compare, evaluate, keys, low_rank, serve, tasks, train
from app.cli.common import app

__all__ = [
    "app",
    "bench",
    "card",
    "classify",
    "compare",
    "evaluate",
    "keys",
    "low_rank",
    "main",
    "serve",
    "tasks",
    "train",
]


def main() -> None:
    """Run the `leo` command."""
    app()
