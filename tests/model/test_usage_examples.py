"""The three usage examples of the library, as people know them, with nothing but the import lines changed."""

from pathlib import Path

import pytest

from tests.helpers.drawn import write_omniglot


@pytest.mark.filterwarnings("ignore:no images_evaluation:UserWarning")
def test_the_three_usage_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_omniglot(tmp_path / "omniglot" / "images_background", ["Alpha"], 16)
    write_omniglot(tmp_path / "omniglot" / "images_evaluation", ["Zeta"], 16)
    monkeypatch.chdir(tmp_path)

    # Basic training; people draw 2,000 tasks and takes minutes.
    import torch
    from torch.utils.data import DataLoader

    from model.data.episodes import OmniglotTaskDataset
    from model.data.omniglot import load_omniglot_dataset
    from model.training.train_leo import train_leo

    train_dataset, test_dataset = load_omniglot_dataset(root="omniglot")
    train_task_dataset = OmniglotTaskDataset(train_dataset, n_way=5, k_shot=1, num_query=2, num_tasks=4)
    train_loader = DataLoader(train_task_dataset, batch_size=2, shuffle=True)
    leo, losses = train_leo(
        num_classes=5,
        task_dataloader=train_loader,
        latent_dim=64,
        inner_lr=0.01,
        outer_lr=0.001,
        inner_steps=5,
    )
    assert len(losses) == 2
    assert all(0 < loss < 10 for loss in losses)

    # Manual training loop
    from model import LatentEmbeddingOptimization

    leo = LatentEmbeddingOptimization(num_classes=5, latent_dim=64, inner_lr=0.01, outer_lr=0.001, inner_steps=5)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    leo = leo.to(device)
    for task_batch in train_loader:
        support_data, support_labels, query_data, query_labels = task_batch
        support_data = support_data.to(device)
        support_labels = support_labels.to(device)
        query_data = query_data.to(device)
        query_labels = query_labels.to(device)
        loss = leo.meta_train_step(support_data, support_labels, query_data, query_labels)
        assert 0 < loss < 10

    # Adaptation to new tasks
    test_loader = DataLoader(OmniglotTaskDataset(test_dataset, 5, 1, 2, 2), batch_size=2)
    leo.eval()
    support_data, support_labels, query_data, query_labels = next(iter(test_loader))
    support_data = support_data[0].to(device)
    support_labels = support_labels[0].to(device)
    query_data = query_data[0].to(device)
    query_labels = query_labels[0].to(device)
    initial_codes = leo.encode_task(support_data, support_labels)
    adapted_codes = leo.inner_update(support_data, support_labels, initial_codes)
    adapted_params = leo.decode_to_params(adapted_codes)
    query_logits = leo.classifier(query_data, adapted_params)
    predictions = query_logits.argmax(dim=1)
    accuracy = (predictions == query_labels).float().mean()

    assert leo.classifier.extract_features(query_data).shape == (10, 2304)
    assert initial_codes.shape == adapted_codes.shape == (5, 64)
    assert not torch.equal(initial_codes, adapted_codes)
    assert sum(value.numel() for value in adapted_params.values()) == 11_525
    assert 0 <= accuracy <= 1
