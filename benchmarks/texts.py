"""The texts that benchmarks read: from the data folder, never from the repository."""

import json
import os
import random
from pathlib import Path

__all__ = ["heavy_tailed_mix", "read", "uniform_short"]

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
    """1,200 tweets, 300 news and 60 texts of six joined news, shuffled: a real stream's lengths."""
    tweets = [row["text"] for row in read("tweets_moderation", "dev")[:1200]]
    news = [row["text"] for row in read("ag_news", "train")]
    short, long = news[:300], [" ".join(news[300 + 6 * i : 306 + 6 * i]) for i in range(60)]
    mix = tweets + short + long
    random.Random(_SEED).shuffle(mix)
    return mix


def uniform_short(count: int = 1500) -> list[str]:
    """Tweets of 8 to 12 words: nothing to gain from sorting."""
    rows = read("tweets_moderation", "train")
    texts = [row["text"] for row in rows if 8 <= len(row["text"].split()) <= 12]
    return texts[:count]
