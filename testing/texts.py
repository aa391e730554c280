"""The texts of the benchmarks, from the data folder and never from the repository."""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

__all__ = ["heavy_tailed_mix", "read", "thinned", "uniform_short"]

_SEED = 7  # one order for every run and every contender


def read(name: str, part: str) -> list[dict[str, str]]:
    """Return the rows of ``NAME/PART.jsonl``: id, text, label."""
    folder = Path(os.environ.get("STREAMLABEL_DATA", "../shared/data"))
    path = folder / name / f"{part}.jsonl"
    if not path.exists():
        raise SystemExit(
            f"{path} is missing: set STREAMLABEL_DATA to the folder with the data sets"
        )
    return [json.loads(line) for line in path.read_text().splitlines()]


def heavy_tailed_mix() -> list[str]:
    """1,200 tweets, 300 news and 60 texts of six joined news, shuffled: realistic lengths."""
    tweets = [row["text"] for row in read("tweets_moderation", "dev")[:1200]]
    news = [row["text"] for row in read("ag_news", "train")]
    short, long = news[:300], [" ".join(news[300 + 6 * i : 306 + 6 * i]) for i in range(60)]
    mix = tweets + short + long
    random.Random(_SEED).shuffle(mix)
    return mix


def thinned(texts: Sequence[str], count: int) -> list[str]:
    """Return ``count`` of the texts in their order, with the same distribution of lengths."""
    count = min(count, len(texts))
    by_length = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    # from the middle of each of ``count`` equal parts
    kept = {by_length[(2 * part + 1) * len(texts) // (2 * count)] for part in range(count)}
    return [text for i, text in enumerate(texts) if i in kept]


def uniform_short(count: int = 1500) -> list[str]:
    """Tweets of 8 to 12 words, for which sorting by length has no benefit."""
    rows = read("tweets_moderation", "train")
    texts = [row["text"] for row in rows if 8 <= len(row["text"].split()) <= 12]
    return texts[:count]
