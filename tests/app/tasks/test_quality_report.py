"""What a task says of its examples' labels, over real HTTP."""

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.tasks import FIVE, create, create_from


def test_a_wrong_label_is_reported_at_creation_and_later(client: httpx.Client) -> None:
    pairs = [(name, png(name, seed)) for name in FIVE for seed in range(3)]
    pairs[4] = (FIVE[1], png(FIVE[3], 7))  # a drawing of the fourth sign under the second's name
    task = create_from(client, pairs).json()
    quality = task["quality"]
    top = quality["suspects"][0]
    assert (top["index"], top["label"], top["looks_like"]) == (4, FIVE[1], FIVE[3])
    assert [each["label"] for each in quality["classes"]] == FIVE
    assert quality["classes"][1]["agreement"] == pytest.approx(2 / 3, abs=0.01)
    assert client.get(f"/tasks/{task['task_id']}").json()["quality"] == quality
    clean = create(client, FIVE, shots=3).json()["quality"]
    assert clean["suspects"] == []
    assert clean["near_duplicates"] == []


def test_the_same_picture_in_two_classes_is_reported(client: httpx.Client) -> None:
    pairs = [("a", png("ring")), ("b", png("ex")), ("c", png("ring"))]
    task = create_from(client, pairs).json()
    (twins,) = task["quality"]["near_duplicates"]
    assert (twins["first"], twins["second"]) == (0, 2)
    assert twins["similarity"] == pytest.approx(1, abs=0.01)
    assert [each["agreement"] for each in task["quality"]["classes"]] == [None] * 3
