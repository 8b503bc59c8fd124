"""Writes the README's figures from results files and model cards, so that none is typed in."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
MODELS = ("omniglot", "omniglot-105")


def figures() -> str:
    """The tables between the README's two marks."""
    lines = ["| accuracy on validation alphabets, % | " + " | ".join(MODELS) + " |", "|---|" + "---|" * len(MODELS)]
    cards = [json.loads((ROOT / "weights" / name / "config.json").read_text())["card"] for name in MODELS]
    for rows in zip(*(card["validation"] for card in cards), strict=True):
        first = rows[0]
        steps = f"{first['inner_steps']} steps" if first["inner_steps"] else "0 steps"
        cells = [f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f}" for row in rows]
        lines.append(f"| {first['way']}-way {first['shot']}-shot, {steps} | " + " | ".join(cells) + " |")
    episodes = cards[0]["validation"][0]["episodes"]
    lines += ["", f"{episodes} episodes each, 95 % intervals, from the models' cards ({cards[0]['date']})."]
    latency = json.loads((ROOT / "bench" / "results" / "latency.json").read_text())
    lines += ["", "| median milliseconds over HTTP, one client, CPU | " + " | ".join(MODELS) + " |"]
    lines += ["|---|" + "---|" * len(MODELS)]
    for key, title in [
        ("create_5way_1shot_ms", "create a 5-way 1-shot task"),
        ("predict_1image_ms", "predict one image"),
    ]:
        lines.append(
            f"| {title} | " + " | ".join(f"{latency['models'][name][key]['p50']:.1f}" for name in MODELS) + " |"
        )
    machine = latency["machine"]
    lines += ["", f"{machine['processor']}, {machine['cores']} cores, {latency['date']}: `make bench`."]
    return "\n".join(lines)


def written(readme: str) -> str:
    """The README with its figures brought up to date."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{figures()}\n{END}{after}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(written(path.read_text()))
