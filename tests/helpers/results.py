"""Compares the engine's results."""

import numpy as np
import pytest

from app.inference.work import Adapted, Head, Predicted, Result


def assert_alike(found: Result, expected: Result) -> None:
    """Fail unless two results are of one kind and as good as equal."""
    if isinstance(found, Predicted) and isinstance(expected, Predicted):
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
        assert found.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert (found.known is None) == (expected.known is None)
        if found.known is not None and expected.known is not None:
            np.testing.assert_allclose(found.known, expected.known, atol=2e-3)
    elif isinstance(found, Head) and isinstance(expected, Head):
        np.testing.assert_allclose(found.weight, expected.weight, atol=1e-3, rtol=1e-3)  # noise: weights up to 18
        np.testing.assert_allclose(found.bias, expected.bias, atol=1e-3)
    else:
        assert isinstance(found, Adapted)
        assert isinstance(expected, Adapted)
        np.testing.assert_allclose(found.codes, expected.codes, atol=1e-3)
        assert found.losses == pytest.approx(expected.losses, rel=1e-3, abs=1e-3)
        assert found.support_accuracy == pytest.approx(expected.support_accuracy)
        assert found.is_finite == expected.is_finite
        assert found.support.labels.tolist() == expected.support.labels.tolist()
        np.testing.assert_allclose(found.support.features, expected.support.features, atol=2e-3)
        assert (found.support.encoder_features is None) == (expected.support.encoder_features is None)
        if found.support.encoder_features is not None and expected.support.encoder_features is not None:
            np.testing.assert_allclose(found.support.encoder_features, expected.support.encoder_features, atol=2e-3)
