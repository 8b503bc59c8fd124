"""All methods of drawings around one small model."""

from pathlib import Path

from model.baselines.folder import save_gradient_based
from model.baselines.gradient import KINDS, GradientBased
from model.baselines.method import Method
from model.baselines.registry import drawing_methods
from tests.helpers.models import tiny


def methods_of_a_tiny_model(folder: Path) -> list[Method]:
    """Return every method; the gradient-based ones are untrained and written to `folder`."""
    leo = tiny(decoder_skip=True, inner_lr=0.5).eval()
    for kind in KINDS:
        save_gradient_based(GradientBased(leo, kind), folder)
    return drawing_methods(leo, folder, {"l2": 0.01, "steps": dict.fromkeys(KINDS, 1)})
