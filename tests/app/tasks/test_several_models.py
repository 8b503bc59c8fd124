"""Two models of drawings in one service, over real HTTP; test_photo_tasks.py has drawings beside photos."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safetensors.numpy import load

from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, create, predict


def test_two_models_serve_side_by_side(settings: Settings, tmp_path: Path) -> None:
    both = settings.model_copy(update={"data_dir": tmp_path, "models": "omniglot-105"})
    with serving(both) as client:
        listed = client.get("/models").json()["models"]
        assert [(model["name"], model["default"]) for model in listed] == [("omniglot", True), ("omniglot-105", False)]

        def whole(name: str | None) -> tuple[str, list[str]]:
            task = create(client, FIVE, **({"model": name} if name else {})).json()
            answers = predict(client, task["task_id"], [png(label, 12) for label in FIVE])
            return task["model"], [answer["label"] for answer in answers]

        names = [None, "omniglot-105", "omniglot"] * 4
        with ThreadPoolExecutor(6) as pool:  # so that batches hold work for both
            done = list(pool.map(whole, names))
        assert done == [(name or "omniglot", FIVE) for name in names]
        shapes = [
            load(client.get(f"/tasks/{create(client, model=name).json()['task_id']}/parameters").content)[
                "fc.weight"
            ].shape
            for name in ("omniglot", "omniglot-105")
        ]
        assert shapes == [(5, listed[0]["feature_dim"]), (5, listed[1]["feature_dim"])]
        refused = create(client, model="absent")
        assert refused.status_code == 422
        assert "'omniglot', 'omniglot-105'" in refused.json()["detail"]
