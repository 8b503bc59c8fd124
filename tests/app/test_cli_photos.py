"""`leo classify` on photos, with the weights that are shipped."""

import json
from pathlib import Path

from typer.testing import CliRunner

from app.cli import app
from tests.conftest import WEIGHTS
from tests.photographed import jpeg, product

MODEL = WEIGHTS / "photos-lite0"
PAIR = ("orange", "carton")


def leo(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.stdout


def test_classify_knows_products_by_two_photos_each(tmp_path: Path) -> None:
    for name in PAIR:
        (tmp_path / "support" / name).mkdir(parents=True)
        for seed in (1, 2):
            (tmp_path / "support" / name / f"{seed}.jpg").write_bytes(jpeg(product(name, seed)))
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(product(name, 7, (1200, 900))))
    asked = [tmp_path / f"{name}.jpg" for name in PAIR]
    answers = json.loads(leo("classify", tmp_path / "support", *asked, "--format", "json", "--model", MODEL))
    assert {Path(answer["file"]).stem: answer["label"] for answer in answers} == {name: name for name in PAIR}
