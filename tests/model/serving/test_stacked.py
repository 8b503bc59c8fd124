"""The pass for a GPU waits for its device nowhere: fake tensors raise where a number is read back or devices mix."""

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from model.checkpoint import read_info
from model.config import LEOConfig
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.stacked import Decodes, Queries, StackedLEO, Supports
from tests.helpers.models import WEIGHTS

CUDA = torch.device("cuda", 0)
CONFIGS = {name: read_info(WEIGHTS / name).config for name in ("omniglot", "omniglot-105")}
CHOICES: dict[str, LEOConfig] = CONFIGS | {
    # The photos' own network reads numbers while it is loaded; the rest of their model is this.
    "photos": CONFIGS["omniglot"].model_copy(
        update={"code_ridge": 0.1, "code_evenness": 3.0, "decoder_hidden": (16, 16), "decoder_tied": True}
    ),
    "attention": CONFIGS["omniglot"].model_copy(update={"attention": True}),
    "examples": CONFIGS["omniglot"].model_copy(update={"relation_over": "examples"}),
    "fine-tuned": CONFIGS["omniglot"].model_copy(update={"finetune_steps": 2}),
    "support views": CONFIGS["omniglot"].model_copy(update={"support_views": 4}),
    "views": CONFIGS["omniglot"].model_copy(update={"view_angles": [-10.0, 10.0]}),
}


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make every new tensor one of a GPU, without values."""
    # Fakes can neither be copied nor moved; these are where they belong already.
    monkeypatch.setattr(FeatureExtractor, "fold_batch_norm", lambda self: None)
    monkeypatch.setattr(FeatureExtractor, "to", lambda self, *_, **__: self)
    with FakeTensorMode(), CUDA, torch.no_grad():
        yield


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize("name", CHOICES)
def test_nothing_is_read_back_from_the_device(name: str) -> None:
    config = CHOICES[name]
    leo = StackedLEO(LatentEmbeddingOptimization(config=config).eval(), CUDA)
    side, codes = config.resolution, torch.zeros(4, 7, config.latent_dim)
    images, present = torch.zeros(19, side, side, dtype=torch.uint8), torch.ones(4, 7)
    features = leo.features(images)
    queries = Queries(codes, present, torch.ones(4), torch.ones(4), torch.zeros(6, dtype=torch.int64))
    earlier = torch.zeros(5, config.feature_dim, dtype=torch.float16)
    supports = Supports(torch.zeros(3, 9, dtype=torch.int64), torch.ones(3, 9, 4), earlier, earlier)
    adapted = leo.adapt(images[6:], features[6:], supports)
    results = {
        "probabilities": (leo.classify(features[:6], queries)[0], (6, 7)),
        "heads": (leo.decode(Decodes(codes, present)), (4, 7, config.feature_dim + 1)),
        "codes": (adapted.codes, (3, 4, config.latent_dim)),
        "losses": (adapted.losses, (3, config.inner_steps + config.finetune_steps + 1)),
        "hits": (adapted.hits, (3,)),
        "finite": (adapted.finite, (3,)),
        "features": (adapted.features, (13, config.feature_dim)),
        "encoder_features": (adapted.encoder_features, (13, config.feature_dim)),
    }
    for what, (tensor, expected) in results.items():
        assert tensor.device == CUDA, what
        assert tuple(tensor.shape) == expected, what


@pytest.mark.usefixtures("fake_gpu")
def test_a_read_or_a_mixture_of_devices_would_be_noticed() -> None:
    """So that the test above means something: this is what it would meet."""
    with pytest.raises(DataDependentOutputException):
        bool(torch.zeros(2).any())
    with pytest.raises(RuntimeError, match="devices"):
        torch.zeros(2) + torch.zeros(2, device="cpu")
