"""A small Qwen2, trained from scratch to answer a task with one token.

It is trained with exactly the prompts of serving: they are rendered by the code of the service, the
loss is the cross entropy of the answer's token over the whole vocabulary, and the answer's token is
the one that the label compiler finds. Takes minutes on two cores, without a download.

    python -m testing.small_qwen FOLDER [--config config/examples/vllm-cpu.yaml]
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from streamlabel.config.task import TaskSettings
from streamlabel.models.label_scoring.label_tokens import compile_labels
from streamlabel.models.prompts.build_prompt import build_prompt
from streamlabel.models.prompts.chat_template import load_chat
from streamlabel.models.prompts.phrases import render_phrases
from streamlabel.training.fit_settings import EpochReport, FitSettings
from streamlabel.training.training_loop import run_epochs
from streamlabel.training.training_rows import TrainingRows
from streamlabel.training.training_run import Course
from testing import texts
from testing.tiny_models import LINES, WORDS, build_tokenizer

__all__ = ["SETTINGS", "task_of", "train"]

# Sizes of the vocabulary: a tokenizer of this size keeps English messages short.
_MERGED, _VOCABULARY = 2000, 2048
_SIZES: Mapping[str, Any] = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,  # of 32 dimensions, the minimum of vLLM's attention on a CPU
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "dtype": "float32",
}
_MAX_TOKENS = 512  # longer prompts are truncated in the middle of the text
_HELD_OUT = 0.1

SETTINGS = FitSettings(
    epochs=4, learning_rate=1e-3, batch_items=32, label_smoothing=0.0, patience=2
)


def task_of(config: Path) -> TaskSettings:
    """Return the task of a configuration file."""
    return TaskSettings.model_validate(yaml.safe_load(config.read_text())["model"]["task"])


def train(
    folder: Path,
    task: TaskSettings,
    rows: Sequence[Mapping[str, str]],
    *,
    settings: FitSettings = SETTINGS,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Course:
    """Train on ``rows`` (text, label) and save model and tokenizer to ``folder``.

    A tenth of the rows is held out; the weights of the epoch with the lowest loss on it are saved.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    system = render_phrases(task, "one_token").system
    lines = [*(row["text"] for row in rows), *[system, *LINES, *WORDS] * 50]
    tokenizer = build_tokenizer(folder, lines=lines, size=_MERGED)
    chat = load_chat(folder, name=folder.name)
    prompt = build_prompt(
        task,
        answers="one_token",
        render=chat.render,
        tokenizer=chat.tokens,
        max_tokens=_MAX_TOKENS,
    )
    labels = compile_labels(
        task.names,
        task.forms,
        prompt=prompt.rendered,
        encode=lambda text: chat.tokens.trusted(text).ids,
    )
    answers = dict(zip(task.names, (forms[0] for forms in labels.forms), strict=True))
    shuffled = list(rows)
    random.Random(settings.seed).shuffle(shuffled)
    inputs = [torch.tensor(prompt.encode(row["text"]).ids) for row in shuffled]
    targets = torch.zeros(len(rows), _VOCABULARY)  # (N, V)
    targets[range(len(rows)), [answers[row["label"]] for row in shuffled]] = 1.0
    torch.manual_seed(settings.seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            **_SIZES,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    cut = int(len(rows) * _HELD_OUT)
    course = run_epochs(
        _FirstToken(model, shared=len(prompt.prefix_ids)),
        TrainingRows(inputs[cut:], targets[cut:]),
        TrainingRows(inputs[:cut], targets[:cut]),
        settings=settings,
        problem_type="single_label",
        on_step=None,
        on_epoch=on_epoch,
    )
    model.save_pretrained(folder)
    return course


class _FirstToken(torch.nn.Module):
    """The logits of the token after each row, as a classifier over the vocabulary.

    Args:
        model: a causal language model.
        shared: number of common prefix tokens, which are computed once per batch.
    """

    def __init__(self, model: Any, *, shared: int) -> None:  # noqa: ANN401 untyped library
        super().__init__()
        self.model = model
        self._shared = shared

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> argparse.Namespace:
        """Return an object with ``logits`` (B, V); rows are padded on the right."""
        before, rest = input_ids[:1, : self._shared], input_ids[:, self._shared :]
        cache = self.model.model(before, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(rest))
        states = self.model.model(
            input_ids=rest, attention_mask=attention_mask, past_key_values=cache
        ).last_hidden_state  # (B, T, hidden)
        last = attention_mask.sum(dim=1) - 1 - self._shared  # (B,)
        logits = self.model.lm_head(states[torch.arange(len(rest)), last])  # (B, V)
        return argparse.Namespace(logits=logits)


def main() -> None:
    """Train and print the course."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config/examples/vllm-cpu.yaml"))
    parser.add_argument("--data", default="sms_spam", help="of the data folder")
    arguments = parser.parse_args()
    began_s = time.perf_counter()

    def say(report: EpochReport) -> None:
        sys.stdout.write(
            f"epoch {report.number}: loss {report.loss:.4f}, held out {report.held_out_loss:.4f},"
            f" {time.perf_counter() - began_s:.0f} s\n"
        )
        sys.stdout.flush()

    train(
        arguments.folder,
        task_of(arguments.config),
        texts.read(arguments.data, "train"),
        on_epoch=say,
    )


if __name__ == "__main__":
    main()
