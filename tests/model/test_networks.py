import pytest
import torch

from model.config import LEOConfig
from model.leo import one_hot
from model.networks import FeatureExtractor, LEOClassifier, LEODecoder, LEOEncoder, LEORelationNetwork


def test_shapes_of_the_source_document() -> None:
    config = LEOConfig.source_document()
    features = FeatureExtractor(config)(torch.rand(2, 1, 105, 105))
    assert features.shape == (2, 2304)
    membership = one_hot(torch.tensor([[0, 1]]))
    codes = LEOEncoder(config)(features[None], membership)
    assert codes.shape == (1, 2, 64)
    assert LEORelationNetwork(config)(codes, torch.ones(1, 2)).shape == (1, 2, 64)
    assert LEODecoder(config)(codes).shape == (1, 2, 2305)


def test_a_class_code_is_the_mean_over_its_examples_however_many() -> None:
    encoder = LEOEncoder(LEOConfig(resolution=16, widths=(4, 4, 4, 4)))
    features = torch.rand(1, 4, 4)
    codes = encoder(features, one_hot(torch.tensor([[0, 1, 1, 1]])))
    each = encoder.to_code(features[0])
    torch.testing.assert_close(codes[0], torch.stack([each[0], each[1:].mean(dim=0)]))


def test_relation_is_the_mean_over_pairs_as_the_document_writes_it() -> None:
    config = LEOConfig.source_document()
    relation = LEORelationNetwork(config)
    codes = torch.randn(3, 64)

    def of_pair(n: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return relation.out(torch.relu(relation.hidden(torch.cat([n, m]))))

    expected = torch.stack([torch.stack([of_pair(n, m) for m in codes]).mean(dim=0) for n in codes])
    torch.testing.assert_close(relation(codes[None], torch.ones(1, 3))[0], expected)


def test_absent_classes_take_no_part_in_the_relation() -> None:
    relation = LEORelationNetwork(LEOConfig.source_document())
    codes = torch.randn(1, 3, 64)
    alone = relation(codes[:, :2], torch.ones(1, 2))
    beside_padding = relation(codes, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(beside_padding[:, :2], alone)


def test_a_fresh_decoder_with_skip_gives_the_encoded_class_means() -> None:
    config = LEOConfig(resolution=16, widths=(4, 4, 4, 4), decoder_skip=True, logit_scale=10.0)
    encoder, decoder = LEOEncoder(config), LEODecoder(config)
    decoder.start_as_transpose_of(encoder)
    mean = torch.rand(config.feature_dim)
    row = decoder(encoder.to_code(mean))
    expected = 10 * encoder.to_code.weight.T @ encoder.to_code.weight @ mean
    torch.testing.assert_close(row[:-1], expected)
    assert row[-1] == 0


def test_normalised_features_have_length_one() -> None:
    features = FeatureExtractor(LEOConfig(resolution=16, widths=(4, 4, 4, 4)))(torch.rand(3, 1, 16, 16))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))


def test_folding_batch_norm_changes_no_feature() -> None:
    phi = FeatureExtractor(LEOConfig(resolution=16, widths=(4, 4, 4, 4)))
    phi(torch.rand(64, 1, 16, 16))  # statistics that are not those of a fresh BatchNorm
    with pytest.raises(RuntimeError, match="eval"):
        phi.fold_batch_norm()
    phi.eval()
    images = torch.rand(5, 1, 16, 16)
    expected = phi(images)
    phi.fold_batch_norm()
    phi.fold_batch_norm()
    torch.testing.assert_close(phi(images), expected, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in phi.modules())


def test_the_classifier_with_and_without_parameters() -> None:
    classifier = LEOClassifier(7, LEOConfig(resolution=16, widths=(4, 4, 4, 4))).eval()
    images = torch.rand(2, 1, 16, 16)
    assert classifier(images).shape == (2, 7)
    params = {"fc.weight": torch.rand(3, 4), "fc.bias": torch.rand(3)}
    expected = classifier.extract_features(images) @ params["fc.weight"].T + params["fc.bias"]
    torch.testing.assert_close(classifier(images, params), expected)
