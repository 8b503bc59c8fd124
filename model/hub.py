"""Models on the Hugging Face Hub: their folders have the layout of `model.checkpoint`."""

import re
from pathlib import Path

from model.checkpoint import BACKGROUND, CONFIG, WEIGHTS, CheckpointError

#: `owner/name`, as the Hub spells it.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = (CONFIG, WEIGHTS, BACKGROUND)


def download(repository: str, revision: str | None = None) -> Path:
    """Return the folder of a model on the Hub, downloaded now or before.

    `HF_HUB_OFFLINE`, `HF_TOKEN`, `HF_HOME` and `HF_ENDPOINT` mean what they mean to `huggingface_hub`. Raises
    `CheckpointError` without that package, and where the model cannot be had.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise CheckpointError(
            f"there is no folder {repository}; if it is a model on the Hugging Face Hub, pip install huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[*FILES, "README.md"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"there is no folder {repository}, and no model of this name could be had from the Hugging Face Hub: "
            f"{str(error).splitlines()[0]}"
        ) from error
