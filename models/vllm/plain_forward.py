"""A process that computes the model's own plain forward pass, beside the engine's start.

It is a process of its own, because an engine may fork ours, which must not happen after torch has
started its threads, and because its memory is free again when it has ended.
"""

import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from streamlabel.errors import ModelError
from streamlabel.foreign import first_line
from streamlabel.models.core.labels import ProblemType
from streamlabel.models.files.checkpoint import Checkpoint

__all__ = ["Asked", "Probabilities", "Question", "compute"]

# Of a row: by token id, or by the number of an output.
Probabilities = Mapping[int, float]

# Tokens that are compared besides those that were asked for: the most probable ones.
_MOST_PROBABLE: Final = 5
_PLAIN: Final = "eager"


@dataclass(frozen=True, slots=True)
class Question:
    """The rows of a task, and what is read after them.

    Attributes:
        rows: token ids, at least one each.
        reads: ``tokens``: probabilities of the next token, over the whole vocabulary; ``head``: the
            same over ``wanted`` only; ``outputs``: of a sequence classifier.
        wanted: token ids.
        problem_type: of a sequence classifier.
    """

    rows: Sequence[Sequence[int]]
    reads: Literal["tokens", "head", "outputs"] = "tokens"
    wanted: Sequence[int] = ()
    problem_type: ProblemType = "single_label"


@dataclass(frozen=True, slots=True)
class Asked:
    """What to compute, and with which model.

    Attributes:
        question: rows, and what is read after them.
        checkpoint: of the model.
        dtype: of the weights, by torch's name.
        adapter: folder of a LoRA adapter.
        fp32_head: compute the output layer in float32 whatever the dtype.
    """

    question: Question
    checkpoint: Checkpoint
    dtype: str
    adapter: str | None = None
    fp32_head: bool = False


def compute(asked: Asked) -> list[Probabilities]:
    """Return the probabilities of each row, with transformers and on the CPU; blocks.

    Raises:
        ModelLoadError: transformers cannot load this model.
    """
    return _outputs(asked) if asked.question.reads == "outputs" else _tokens(asked)


def _tokens(asked: Asked) -> list[Probabilities]:
    from streamlabel.models.devices.device import choose_device
    from streamlabel.models.llm.loading import load_causal

    model = load_causal(
        asked.checkpoint,
        choose_device("cpu"),
        dtype=asked.dtype,
        adapter=asked.adapter,
        fp32_head=asked.fp32_head,
        pad_id=0,
    )
    model.use_attention(_PLAIN)
    found: list[Probabilities] = []
    for row in asked.question.rows:
        all_tokens = model.plain_probabilities(row)  # (V,)
        ids = list(asked.question.wanted)
        if asked.question.reads == "head":
            some = all_tokens[ids] / all_tokens[ids].sum()
        else:
            ids = sorted({*ids, *all_tokens.topk(_MOST_PROBABLE).indices.tolist()})
            some = all_tokens[ids]
        found.append(dict(zip(ids, some.tolist(), strict=True)))
    return found


def _outputs(asked: Asked) -> list[Probabilities]:
    import torch
    from transformers import AutoModelForSequenceClassification

    from streamlabel.models.core.probabilities import probabilities
    from streamlabel.models.files.whole_model import load_whole

    model = load_whole(
        AutoModelForSequenceClassification,
        asked.checkpoint,
        dtype=getattr(torch, asked.dtype),
        what="sequence classifier",
    )
    model.eval()
    model.set_attn_implementation(_PLAIN)
    found: list[Probabilities] = []
    with torch.inference_mode():
        for row in asked.question.rows:
            logits = model(input_ids=torch.tensor([list(row)])).logits[0].float().numpy()  # (K,)
            found.append(
                dict(enumerate(probabilities(logits, asked.question.problem_type).tolist()))
            )
    return found


def main() -> None:
    """Read what is asked from standard input, and write the answer or a reason, both pickled."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print
    asked: Any = pickle.load(sys.stdin.buffer)  # noqa: S301 from our own parent process
    found: list[Probabilities] | str
    try:
        found = compute(asked)
    # Whatever a model's code raises: the parent reports it, and decides whether it matters.
    except Exception as error:  # noqa: BLE001
        found = str(error) if isinstance(error, ModelError) else first_line(error)
    with answer:
        pickle.dump(found, answer)


if __name__ == "__main__":
    main()
