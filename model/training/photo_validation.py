"""Validation tasks of models of photos: the sources of the photos, each by itself, and the settings of the tasks."""

import torch

from model.baselines.extractors import LeoExtractor
from model.data.photos import Photos
from model.evaluation.accuracy import Setting
from model.evaluation.extracted_features import ExtractedFeatures

#: The tasks on which a model's temperature is fitted, for each source. The first fits small data sets too.
PHOTO_CALIBRATION_SETTINGS = (Setting(2, (1, 1), 3), *(Setting(way, (k, k), 10) for way in (5, 15) for k in (1, 5, 10)))


def extract_by_source(extractor: LeoExtractor, photos: Photos) -> list[ExtractedFeatures]:
    """Extract each source of photos by itself, so that all classes of a task are of one kind of photo."""
    return [
        ExtractedFeatures(features := extractor.of_photos(part), part.counts, torch.arange(len(features)))
        for part in photos.by_source()
    ]
