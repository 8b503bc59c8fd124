"""Writes the README's table from results files and model cards, so that no figure is typed in.

python -m bench.readme
"""

from typing import Any

from bench.common import DRAWING_MODELS, ROOT, read_results
from bench.tables import between_marks, header, validation, where_and_when

DOCUMENT = ROOT / "README.md"
DRAWINGS, PHOTOS = DRAWING_MODELS[0], "photos-lite0"


def figures() -> str:
    """What a reader wants to know first: how often the answer is right, and how soon it comes."""
    drawings, photos = validation(DRAWINGS), validation(PHOTOS)
    latency = read_results("latency")
    waits = latency["models"][DRAWINGS]
    engine = read_results("engine")
    most = engine["models"][DRAWINGS]["compare"]["ours"]["predict"]["clients_32"]["per_second"]
    sources = [source for source in photos["sources"] if source["rows"][0]["way"] == 5]
    lines = header("right answers, %", ["1 shot", "5 shots"])
    for way, within, title in (
        (5, None, "5 classes"),
        (20, None, "20 classes"),
        (20, "alphabet", "20 of one alphabet"),
    ):
        lines.append(f"| drawings, {title} | " + " | ".join(_drawing(drawings, way, within, k) for k in (1, 5)) + " |")
    for source in sources:
        name = source["source"].removesuffix(".zip")
        lines.append(f"| photos, 5 classes of {name} | " + " | ".join(_photo(source, k) for k in (1, 5)) + " |")
    return "\n".join(
        [
            *lines,
            "",
            f"Classes that the model was not trained on, {drawings['episodes']:,} tasks a row ({photos['episodes']:,} "
            "of photos) and 95 % intervals. Without a GPU, over HTTP, a task of five drawings takes "
            f"{waits['create_5way_1shot_ms']['p50_ms']:.1f} ms and a prediction "
            f"{waits['predict_1image_ms']['p50_ms']:.1f} ms ({where_and_when(latency)}); 32 clients get {most:,.0f} "
            f"predictions a second ({where_and_when(engine)}).",
        ]
    )


def _drawing(found: dict[str, Any], way: int, within: str | None, shot: int) -> str:
    """The accuracy after all inner steps."""
    of = [row for row in found["rows"] if (row["way"], row["within"], row["shot"]) == (way, within, shot)]
    return f"{100 * of[-1]['accuracy']:.1f} ± {100 * of[-1]['ci95']:.1f}"


def _photo(source: dict[str, Any], shot: int) -> str:
    row = next(row for row in source["rows"] if (row["way"], row["shot"]) == (5, shot))
    leo = row["methods"][0]
    return f"{100 * leo['accuracy']:.1f} ± {100 * leo['ci95']:.1f}"


def written(readme: str) -> str:
    """The README with its figures brought up to date."""
    return between_marks(readme, figures())


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
