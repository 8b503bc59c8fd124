"""Pretrained networks that phi may be: what each takes, what it gives, and where its weights come from.

conv4                trained here with the rest of the model; not in this list
efficientnet-lite0   and -lite2: weights from packages of that name, the extra `photos` brings Lite0
torchvision:NAME     any of torchvision's classification models, its default weights downloaded by torchvision
"""

from model.backbones.backbone import Backbone, BackboneError, Loaded, Part, Pooling, find

__all__ = ["Backbone", "BackboneError", "Loaded", "Part", "Pooling", "find"]
