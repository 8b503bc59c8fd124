"""Write one-shot runs in the layout of Lake's `all_runs`."""

from pathlib import Path

from tests.helpers.drawn import CHARACTERS, canvas, shaky


def write_runs(folder: Path, runs: int = 2) -> Path:
    """Write runs of ten classes each; the items are in another order than the classes."""
    names = list(CHARACTERS)
    for r in range(1, runs + 1):
        lines = []
        for part in ("training", "test"):
            (folder / f"run{r:02d}" / part).mkdir(parents=True)
        for n, name in enumerate(names, start=1):
            item = (n * 3) % 10 + 1
            drawn = {f"training/class{n:02d}": 10 * r, f"test/item{item:02d}": 10 * r + 1}
            for path, seed in drawn.items():
                picture = canvas(shaky(CHARACTERS[name], seed), 105, 3, ink=0, paper=1, mode="1")
                picture.save(folder / f"run{r:02d}" / f"{path}.png")
            lines.append(f"run{r:02d}/test/item{item:02d}.png run{r:02d}/training/class{n:02d}.png")
        (folder / f"run{r:02d}" / "class_labels.txt").write_text("\n".join(lines) + "\n")
    return folder
