"""Training data and loss for one-token answers: the prompts of serving.

Prompts are built by the code that serves them, so their tokens are identical. The loss is the cross
entropy of the answer's token over the whole vocabulary; tokens of the text and the instruction do
not contribute.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError
from streamlabel.models.devices.compute_type import ComputeType
from streamlabel.models.label_scoring.label_reads import prompt_version
from streamlabel.models.label_scoring.label_tokens import LabelTokens, compile_labels
from streamlabel.models.prompts.build_prompt import Prompt, build_prompt
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.training.fit_settings import Example
from streamlabel.training.losses import weights_of
from streamlabel.training.shared_prompt import Packed, pack
from streamlabel.training.training_rows import Drawn, TrainingRows

__all__ = ["Lessons", "answer_model"]

# Number of distinct orders of the labels: enough that the position in the list is not a hint.
_ORDERS = 24
# Orders in one step. With a single one, a step first of all teaches the letter that most of its
# texts have, and the next step another; each further one computes the instruction once more.
_ORDERS_A_STEP = 2


@dataclass(frozen=True, slots=True)
class _Lesson:
    """The task with its labels in one order."""

    names: tuple[str, ...]
    prompt: Prompt
    answers: LabelTokens

    def answer_to(self, label: str) -> int:
        """Return the token of the answer that stands for ``label`` in the prompt."""
        return self.answers.forms[self.names.index(label)][0]


class Lessons:
    """The prompts of a task, with its labels in the served order and in others.

    Args:
        task: the task; each of its answers must be one token.
        chat: tokenizer and chat template of the model.
        max_tokens: longest prompt; longer texts keep both ends, as in serving.
        seed: of the orders.

    Raises:
        ConfigError: an answer has several tokens, two labels share one, or there is no room.
        ModelLoadError: the chat template does not render the messages unchanged.

    Attributes:
        token_ids: of all answers, in any order of the labels.
        prompt_version: of the served prompt.
        shared_tokens: with which all prompts of one order begin.
    """

    def __init__(self, task: TaskSettings, chat: Chat, *, max_tokens: int, seed: int) -> None:
        if task.policies:
            raise ConfigError(
                "model.task.policies: training teaches one question; write it as the instruction"
                " of a task with its own labels, or remove policies"
            )
        if task.scoring != "one_token":
            raise ConfigError(
                f"model.task.scoring: {task.scoring} reads answers of several tokens; for training"
                " set one_token, with answer_with: letters if the answers have several tokens"
            )
        if task.reasoning is not None:
            raise ConfigError("model.task.reasoning: training teaches to answer at once; remove it")
        self._seed = seed
        order = random.Random(seed)  # noqa: S311 no secret
        self._lessons = [_lesson(each, chat, max_tokens) for each in _orders(task, order)]
        answers = (token for lesson in self._lessons for token in lesson.answers.ids)
        self.token_ids = tuple(dict.fromkeys(answers))
        beginnings = [len(lesson.prompt.shared_ids) for lesson in self._lessons]
        # conversations with other orders of turns may begin otherwise
        self.shared_tokens = 0 if task.conversations else min(beginnings)
        self.prompt_version = prompt_version(self._lessons[0].prompt, self._lessons[0].answers)

    def rows(self, examples: Sequence[Example], *, shuffled: bool) -> TrainingRows:
        """Return the prompt of each example, with the index of its answer in ``token_ids``.

        Args:
            examples: with one label each.
            shuffled: list the labels in two orders for each batch, drawn at random; otherwise as
                served. Rows of one order are a group, whose prompts begin alike.
        """
        order = random.Random(self._seed)  # noqa: S311 no secret

        def draw(batch: Sequence[int]) -> Drawn:
            lessons = order.sample(self._lessons, min(_ORDERS_A_STEP, len(self._lessons)))
            rows = order.sample(range(len(batch)), len(batch))  # the batch is sorted by length
            groups = [rows[i :: len(lessons)] for i in range(len(lessons))]
            inputs: list[Any] = [None] * len(batch)
            targets = torch.zeros(len(batch), len(self.token_ids) + 1)  # (B, U + 1)
            for group, lesson in zip(groups, lessons, strict=True):
                made, right = self._encode([examples[batch[i]] for i in group], lesson)
                targets[group] = right
                for i, each in zip(group, made, strict=True):
                    inputs[i] = each
            return Drawn(inputs, targets, [group for group in groups if group])

        import torch

        inputs, targets = self._encode(examples, self._lessons[0])
        weights = weights_of(examples)
        if not shuffled:
            return TrainingRows(inputs, targets, weights)
        return TrainingRows(inputs, targets, weights, draw, order)

    def _encode(self, examples: Sequence[Example], lesson: _Lesson) -> tuple[list[Any], Any]:
        """Return the rows (T,) of the examples in one order of the labels, and their targets."""
        import torch

        targets = torch.zeros(len(examples), len(self.token_ids) + 1)  # (N, U + 1)
        for i, example in enumerate(examples):
            targets[i, self.token_ids.index(lesson.answer_to(*example.right))] = 1.0
        return [torch.tensor(lesson.prompt.encode(each.text).ids) for each in examples], targets


def answer_model(
    model: Any,  # noqa: ANN401 torch modules
    token_ids: Sequence[int],
    *,
    device: str,
    precision: ComputeType = "float32",
) -> Any:  # noqa: ANN401 torch modules
    """Return ``model`` as a classifier over the answers, for ``run_epochs``.

    Its logits are (B, U + 1): those of ``token_ids``, and one for all other tokens together. If the
    correct token is an answer, cross entropy over these equals cross entropy over the vocabulary.

    Args:
        model: a causal language model on ``device``.
        token_ids: of the answers.
        device: where it computes; rows and logits stay on the CPU.
        precision: of matrix products.

    Returns:
        A module; set its ``packs`` to compute the common beginning of the rows once, where
        ``shared_prompt.sees_only_the_mask``.
    """
    import torch

    kind = device.partition(":")[0]

    class AnswerModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.wanted = torch.tensor(list(token_ids), device=device)
            self.packs = False
            self.precision = precision

        def forward(self, input_ids: Any, attention_mask: Any) -> SimpleNamespace:  # noqa: ANN401 tensors
            lengths = attention_mask.sum(1).tolist()
            rows = [row[:length] for row, length in zip(input_ids, lengths, strict=True)]
            packed = pack(rows) if self.packs else None
            with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
                if packed is None:
                    logits = self._apart(*_padded_left(input_ids, attention_mask))
                else:
                    logits = self._together(packed)
            logits = logits.float()  # (B, V)
            rest = logits.index_fill(1, self.wanted, float("-inf")).logsumexp(1, keepdim=True)
            return SimpleNamespace(logits=torch.cat([logits[:, self.wanted], rest], dim=1).cpu())

        def _apart(self, ids: Any, mask: Any) -> Any:  # noqa: ANN401 tensors
            mask = mask.to(device)
            return self.model(
                input_ids=ids.to(device),
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                use_cache=False,
                logits_to_keep=1,
            ).logits[:, -1]

        def _together(self, packed: Packed) -> Any:  # noqa: ANN401 tensors
            mask = packed.mask
            if getattr(self.model.config, "_attn_implementation", None) != "sdpa":
                # other implementations add the mask to the scores
                least = torch.finfo(torch.float32).min
                mask = torch.zeros(mask.shape).masked_fill(~mask, least)
            return self.model(
                input_ids=packed.ids.to(device),
                attention_mask=mask.to(device),
                position_ids=packed.positions.to(device),
                use_cache=False,
                logits_to_keep=packed.ends.to(device),
            ).logits[0]

    return AnswerModel()


def _padded_left(ids: Any, mask: Any) -> tuple[Any, Any]:  # noqa: ANN401 tensors
    """Move the padding of (B, T) to the left, so the last column has the last token of each row."""
    import torch

    longest = ids.shape[1]
    place = (torch.arange(longest)[None, :] + mask.sum(1, keepdim=True)) % longest  # (B, T)
    return ids.gather(1, place), mask.gather(1, place)


def _orders(task: TaskSettings, order: random.Random) -> list[TaskSettings]:
    """Return the task unchanged, and with its labels in other orders."""
    orders = {task.names: task}
    for _ in range(4 * _ORDERS):
        labels = order.sample(task.labels, len(task.labels))
        if len(orders) < _ORDERS:
            shuffled = task.model_copy(update={"labels": labels})
            orders.setdefault(shuffled.names, shuffled)
    return list(orders.values())


def _lesson(task: TaskSettings, chat: Chat, max_tokens: int) -> _Lesson:
    prompt = build_prompt(
        task,
        answers="one_token",
        render=chat.render,
        tokenizer=chat.tokens,
        max_tokens=max_tokens,
    )
    answers = compile_labels(
        task.names,
        task.forms,
        prompt=prompt.rendered,
        encode=lambda text: chat.tokens.trusted(text).ids,
    )
    return _Lesson(task.names, prompt, answers)
