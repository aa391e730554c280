"""What a model does after its output layer is applied to the answers' logits, or refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from streamlabel.config.model import GenerativeSettings
from streamlabel.errors import ConfigError
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.llm.after_head import open_after_head
from testing.tiny_models import build_causal

pytestmark = pytest.mark.model

# Architectures with scales, caps or neither, by what they call them.
MODELS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Granite": {"logits_scaling": 4.0},
    "Cohere": {"logit_scale": 0.3},
    "Gemma2": {"final_logit_softcapping": 5.0, "head_dim": 32},
    "NanoChat": {"final_logit_softcapping": 3.0},
    "FalconH1": {
        "lm_head_multiplier": 0.4,
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
    },
    "GPTNeoX": {},
}
WANTED = [5, 40, 300]


def checkpoint(folder: Path) -> Checkpoint:
    task = {"labels": [{"name": "ham"}, {"name": "spam"}]}
    return open_checkpoint(GenerativeSettings.model_validate({"path": str(folder), "task": task}))


@pytest.mark.parametrize("kind", MODELS)
def test_the_answers_rows_give_the_models_own_logits(kind: str, tmp_path: Path) -> None:
    folder = build_causal(tmp_path, kind=kind, **MODELS[kind])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = torch.tensor([[7, 90, 12, 31], [7, 8, 9, 10]])
    head = model.get_output_embeddings()
    with torch.inference_mode():
        hidden = model.base_model(rows).last_hidden_state[:, -1]
        raw = torch.nn.functional.linear(hidden, head.weight[WANTED]).numpy()
        own = model(rows).logits[:, -1, WANTED].numpy()
    after = open_after_head(checkpoint(folder))
    assert (after(raw) if after else raw) == pytest.approx(own, abs=1e-5)
    assert (after is not None) == bool(MODELS[kind])


@pytest.mark.parametrize(
    ("kind", "why"),
    [("Phi", "its output layer has a bias"), ("MiniCPM3", "changes the hidden state before")],
)
def test_what_rows_cannot_express_is_refused(kind: str, why: str, tmp_path: Path) -> None:
    config = transformers.CONFIG_MAPPING[kind.lower()]()
    config.save_pretrained(tmp_path)
    given = Checkpoint(tmp_path, kind, config.to_dict(), {})
    with pytest.raises(ConfigError, match=f"{why}.*set one_token"):
        open_after_head(given)
