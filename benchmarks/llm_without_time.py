"""Figures of language models that do not depend on the speed of the machine."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.llm_engines import TASK
from streamlabel.config.presets import PRESETS
from testing import minilm, texts
from testing.official_prompts import STORED, compare, equal_presets
from testing.preset_prompts import count_byte_equal
from testing.scoring_qwen import ANSWERS, teach_scores
from testing.simulated_npu import differences
from testing.tiny_models import build_causal

__all__ = ["npu", "presets"]

Result = tuple[dict[str, float], str, Mapping[str, Any]]

_NPU_TEXTS = 40
_SCORED: Mapping[str, Any] = {
    "instruction": "Spam?",
    "labels": [{"name": "ham"}, {"name": "spam"}],
}


def presets(published: Path) -> Result:
    """Return how many presets ask a model with the prompt that its maker publishes.

    Args:
        published: folder of ``testing.official_prompts``.
    """
    found = compare(published)
    alike = count_byte_equal()
    equal = equal_presets(found)
    kept = {name: {k: v for k, v in each.items() if k != "equal"} for name, each in found.items()}
    STORED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    rows = "".join(
        f"| {name} | {each['what']} | {each['where']} | {len(each['prompts'])}"
        f" | {'yes' if each['equal'] else 'no'} |\n"
        for name, each in found.items()
    )
    page = (
        f"## Presets\n\n{len(equal)} of {len(PRESETS)} presets of language models ask with the"
        " prompt that the model's maker publishes, to the last byte (`presets_byte_equal`). The"
        " published files are not part of the project; their hashes are, with a hash of the prompt"
        " of each text (`testing/official_prompts.json`). A template is rendered by transformers;"
        " otherwise the prompt itself was published, and a template was made of it, in which the"
        " text stands in its place.\n\n"
        f"| preset | published | where | texts | equal |\n| --- | --- | --- | ---: | --- |\n"
        f"{rows}\n"
        f"{sum(alike.values())} of {len(alike)} presets are also equal on templates of ours that"
        " are built as the models' are; those run on every commit.\n"
    )
    figures = {
        "presets_byte_equal": float(len(equal)),
        "presets_equal_alike": float(sum(alike.values())),
    }
    return figures, page, {"presets": found, "alike": alike}


def npu(model: Path) -> Result:
    """Return how far the simulated NPU's probabilities are from those of the CPU, in float32.

    With each text alone, so that both devices compute the same products; and as they are served, in
    batches, which each device divides by the cost of its calls, beside the CPU's own difference
    between single texts and batches.
    """
    rows = [row["text"] for row in texts.read("sms_spam", "dev")[:_NPU_TEXTS]]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tiny = build_causal(folder / "tiny")
        scorer = teach_scores(tiny, _SCORED, folder / "scorer")
        encoder = minilm.save(folder / "encoder")
        models: dict[str, dict[str, Any]] = {
            "encoder": {"backend": "encoder", "path": str(encoder)},
            "one-token": {
                "backend": "generative", "path": str(model.resolve()), "task": dict(TASK),
                "max_tokens": 1024,
            },
        }  # fmt: skip
        prompted = {"backend": "prompted", "path": str(scorer), "task": dict(_SCORED)}

        def moved(device: str, batches: tuple[int, int]) -> dict[str, float]:
            found = differences(models, rows, folder, device, batches=batches)
            return found | differences(
                {"prompted": prompted}, [*ANSWERS], folder, device, batches=batches
            )

        found = {
            "each text alone": moved("npu", (1, 1)),
            "as served": moved("npu", (512, 512)),
            "CPU, each text alone and in batches": moved("cpu", (1, 512)),
        }
    names = list(found["as served"])
    listed = "".join(
        f"| {way} | {' | '.join(f'{by_name[name]:.1e}' for name in names)} |\n"
        for way, by_name in found.items()
    )
    page = (
        f"## Simulated NPU\n\nA device that computes on the CPU and refuses operands of two devices"
        f" (`testing/npu`), float32: the largest difference of a probability from the CPU's own"
        f" path.\n\n| | {' | '.join(names)} |\n| --- |{' ---: |' * len(names)}\n{listed}\n"
        f"{_NPU_TEXTS} texts of sms_spam; encoder: MiniLM, one-token: SmolLM2, prompted: a tiny"
        " model taught to write scores about two texts. In batches, each device divides the rows by"
        " the cost of its calls, so that the order of summation differs, as it does on the CPU"
        " between single texts and batches.\n"
    )
    figures = {
        "npu_max_difference": max(found["each text alone"].values()),
        "npu_max_difference_as_served": max(found["as served"].values()),
        "cpu_max_difference_of_batches": max(found["CPU, each text alone and in batches"].values()),
    }
    return figures, page, {"differences": found}
