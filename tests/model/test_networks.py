"""The networks of a LEO, each against its formula."""

import pytest
import torch
from torch.nn import functional as F

from model.config import LEOConfig
from model.functional import one_hot
from model.networks.classifier import LEOClassifier
from model.networks.decoder import LEODecoder
from model.networks.encoder import LEOEncoder, even_out_lengths, ridge_codes
from model.networks.features import FeatureExtractor
from model.networks.gaussian import Gaussian
from model.networks.relation import LEORelationNetwork


def test_shapes_of_the_basic_form() -> None:
    config = LEOConfig.basic()
    features = FeatureExtractor(config)(torch.rand(2, 1, 105, 105))
    assert features.shape == (2, 2304)
    membership = one_hot(torch.tensor([[0, 1]]))
    codes = LEOEncoder(config)(features[None], membership)
    assert codes.shape == (1, 2, 64)
    assert LEORelationNetwork(config)(codes, torch.ones(1, 2)).mean.shape == (1, 2, 64)
    assert LEODecoder(config)(codes).shape == (1, 2, 2305)


def test_a_class_code_is_the_mean_over_its_examples_however_many() -> None:
    encoder = LEOEncoder(LEOConfig(resolution=16, widths=(4, 4, 4, 4)))
    features = torch.rand(1, 4, 4)
    codes = encoder(features, one_hot(torch.tensor([[0, 1, 1, 1]])))
    each = encoder.to_code(features[0])
    torch.testing.assert_close(codes[0], torch.stack([each[0], each[1:].mean(dim=0)]))


def test_relation_is_the_mean_over_pairs_as_the_document_writes_it() -> None:
    config = LEOConfig.basic()
    relation = LEORelationNetwork(config)
    codes = torch.randn(3, 64)

    def of_pair(n: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return relation.out(torch.relu(relation.hidden(torch.cat([n, m]))))

    expected = torch.stack([torch.stack([of_pair(n, m) for m in codes]).mean(dim=0) for n in codes])
    torch.testing.assert_close(relation(codes[None], torch.ones(1, 3)).mean[0], expected)


def test_absent_classes_take_no_part_in_the_relation() -> None:
    relation = LEORelationNetwork(LEOConfig.basic())
    codes = torch.randn(1, 3, 64)
    alone = relation(codes[:, :2], torch.ones(1, 2)).mean
    beside_padding = relation(codes, torch.tensor([[1.0, 1.0, 0.0]])).mean
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


def test_relation_repeats_as_often_as_asked() -> None:
    config = LEOConfig(latent_dim=32, relation_steps=3)
    relation = LEORelationNetwork(config)
    torch.nn.init.normal_(relation.out.weight, std=0.1)
    codes, present = torch.randn(1, 4, 32), torch.ones(1, 4)
    relation.steps = 1
    thrice = codes
    for _ in range(3):
        thrice = relation(thrice, present).mean
    relation.steps = 3
    torch.testing.assert_close(relation(codes, present).mean, thrice)


def test_attention_starts_as_the_mean_and_then_prefers() -> None:
    config = LEOConfig(resolution=16, widths=(4, 4, 4, 4), latent_dim=32)
    plain, attending = LEOEncoder(config), LEOEncoder(config.model_copy(update={"attention": True}))
    attending.load_state_dict(plain.state_dict(), strict=False)
    features, membership = torch.rand(1, 5, 4), one_hot(torch.tensor([[0, 0, 1, 1, -1]]))
    torch.testing.assert_close(attending(features, membership), plain(features, membership))
    assert attending.salience is not None
    codes = attending.encode_examples(features)[0]
    attending.salience.weight.data = 1e4 * (codes[1] - codes[0])[None]  # of class 0, all for its second example
    torch.testing.assert_close(attending(features, membership)[0, 0], codes[1])


def test_a_conditioned_decoder_sees_the_tasks_own_classes_only() -> None:
    decoder = LEODecoder(LEOConfig(resolution=16, widths=(4, 4, 4, 4), latent_dim=32, decoder_conditioned=True))
    codes = torch.randn(1, 3, 32)
    before = decoder(codes)
    assert decoder.condition is not None
    torch.nn.init.normal_(decoder.condition.weight, std=0.1)
    assert not torch.allclose(decoder(codes), before)
    alone = decoder(codes[:, :2])
    torch.testing.assert_close(decoder(codes, torch.tensor([[1.0, 1.0, 0.0]]))[:, :2], alone)


def test_experts_are_mixed_by_their_gate() -> None:
    decoder = LEODecoder(LEOConfig(resolution=16, widths=(4, 4, 4, 4), latent_dim=32, decoder_experts=2))
    assert decoder.gate is not None
    decoder.gate.weight.data.zero_()
    decoder.gate.bias.data = torch.tensor([100.0, 0.0])  # the first one alone
    code = torch.randn(32)
    hidden = torch.relu(decoder.fc2(torch.relu(decoder.fc1(code))))
    expected = decoder.log_scale.exp() * (decoder.fc3.weight[:5] @ hidden + decoder.fc3.bias[:5])
    torch.testing.assert_close(decoder(code), expected)


def test_gaussians_draw_around_their_mean_and_know_their_divergence() -> None:
    torch.manual_seed(0)
    drawn = Gaussian(torch.full((20_000,), 2.0), torch.full((20_000,), 0.25).log()).sample()
    assert drawn.mean().item() == pytest.approx(2.0, abs=0.02)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.02)
    normal = torch.distributions.Normal
    divergence = torch.distributions.kl_divergence(normal(2.0, 0.5), normal(0.0, 1.0))
    one = Gaussian(torch.tensor([2.0]), torch.tensor([0.25]).log())
    torch.testing.assert_close(one.kl_to_standard(), divergence)
    with pytest.raises(ValueError, match="stochastic"):
        Gaussian(torch.zeros(1), None).kl_to_standard()


def test_correlated_latent_directions_cost() -> None:
    decoder = LEODecoder(LEOConfig(resolution=16, widths=(4, 4, 4, 4), latent_dim=32))
    torch.nn.init.orthogonal_(decoder.fc1.weight)
    assert decoder.correlation_penalty().item() == pytest.approx(0, abs=1e-6)
    decoder.fc1.weight.data[:] = 1.0  # all the same direction: every correlation is 1, off the diagonal 1 too many
    assert decoder.correlation_penalty().item() == pytest.approx(31 / 32, abs=1e-4)


def test_views_are_the_mean_over_turned_drawings_at_inference_only() -> None:
    torch.manual_seed(0)
    shape = {"resolution": 16, "widths": (4, 4, 4), "normalise_features": False}
    once, turned = FeatureExtractor(LEOConfig(**shape)), FeatureExtractor(LEOConfig(**shape, view_angles=(0, 90)))
    turned.load_state_dict(once.state_dict())
    images = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(turned.train()(images), once.train()(images))
    expected = (once.eval()(images) + once(torch.rot90(images, 1, dims=(-2, -1)))) / 2
    torch.testing.assert_close(turned.eval()(images), expected, atol=1e-5, rtol=1e-5)
    turned.fold_batch_norm()
    torch.testing.assert_close(turned(images), expected, atol=1e-5, rtol=1e-5)


def test_codes_by_regression_weigh_classes_alike_and_see_nothing_of_padding() -> None:
    torch.manual_seed(0)
    codes = torch.randn(1, 6, 40, dtype=torch.double)
    shots = torch.tensor([3, 1, 1])  # the sixth row is padding, the fourth class is not there
    membership = F.one_hot(torch.arange(3).repeat_interleave(shots), 4).double()
    membership = torch.cat([membership, torch.zeros(1, 4, dtype=torch.double)]).unsqueeze(0)
    found = ridge_codes(codes, membership, 0.7)[0]  # [4, 40]
    # The primal: sum of w |x W - y|^2 + ridge |W|^2 with w such that each class counts the same.
    x, y = codes[0, :5], membership[0, :5, :3] - 1 / 3
    w = ((5 / 3) / shots.repeat_interleave(shots)).unsqueeze(1)
    expected = torch.linalg.solve(x.T @ (w * x) + 0.7 * torch.eye(40, dtype=torch.double), x.T @ (w * y))  # [40, 3]
    torch.testing.assert_close(found[:3], expected.T)
    assert (found[3] == 0).all()


def test_codes_of_classes_that_are_alike_are_no_longer_than_others() -> None:
    torch.manual_seed(0)
    apart, alike = F.normalize(torch.randn(5, 40), dim=-1), F.normalize(torch.randn(40), dim=-1)
    near = F.normalize(alike + 0.3 * apart, dim=-1)
    membership = torch.eye(6)[None, :5].expand(2, -1, -1)  # the sixth class is not there
    plain = ridge_codes(torch.stack([apart, near]), membership, 0.08)  # [2, 6, 40]
    length = plain[:, :5].square().sum(dim=-1).mean(dim=-1).sqrt()
    assert length[1] > 1.5 * length[0]
    even = even_out_lengths(plain, membership, 1.0)
    torch.testing.assert_close(even[:, :5].square().sum(dim=-1).mean(dim=-1), torch.ones(2))
    torch.testing.assert_close(F.cosine_similarity(even[:, :5], plain[:, :5], dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(even_out_lengths(plain, membership, 3.0), plain / length.view(-1, 1, 1) ** 3)
    assert even_out_lengths(plain, membership, 0.0) is plain
    eightfold = even_out_lengths(plain, membership.repeat_interleave(8, dim=1), 1.0)  # more shots make any codes longer
    torch.testing.assert_close(eightfold, 2 * even)


def test_regression_goes_with_what_it_can() -> None:
    with pytest.raises(ValueError, match="code_evenness needs code_ridge"):
        LEOConfig(code_evenness=1.0)
    with pytest.raises(ValueError, match="code_ridge needs attention=False"):
        LEOConfig(code_ridge=0.5, attention=True)
