"""What docs/page.md says of a newcomer's first minutes is what was measured."""

from bench.common import ROOT, read_results
from bench.newcomer import PAUSES


def test_the_docs_say_what_was_measured() -> None:
    found, document = read_results("newcomer"), (ROOT / "docs" / "page.md").read_text()
    for way in ("phone", "desktop"):
        seconds = found[way]["seconds_to_a_right_answer"]
        assert seconds < 120
        assert f"{seconds:.0f} s" in " ".join(document.split())
        assert [step["seconds"] for step in found[way]["steps"]] == sorted(
            step["seconds"] for step in found[way]["steps"]
        )
    assert found["pauses"] == PAUSES
