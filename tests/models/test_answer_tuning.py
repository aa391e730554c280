"""A language model is taught in the prompt that is served, and served as it was taught."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.model import GenerativeSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.llm import generative
from streamlabel.models.prompts.chat_template import Chat, load_chat
from streamlabel.training.answer_fit import Lora, fit_answers
from streamlabel.training.answer_tuning import Lessons, answer_model
from streamlabel.training.fit_settings import EpochReport, Example, FitSettings
from streamlabel.training.frozen_layers import padded
from streamlabel.training.losses import balanced
from streamlabel.training.training_rows import LENGTH_STEP, batches, passes
from tests.models.test_prompts import FORGERIES, SPAM, task

pytestmark = pytest.mark.model

LETTERS = task(
    labels=[{"name": name} for name in ("red", "green", "blue")],
    examples=[],
    answer_with="letters",
)
TEACH = [
    Example(f"{greeting} {what} {n}", label)
    for n in range(8)
    for greeting in ("Hello", "Call now", "Stop")
    for what, label in (("you have won a prize!", "spam"), ("the message", "ham"))
]
HELD = TEACH[::5]
QUICK = FitSettings(
    epochs=4, learning_rate=5e-3, batch_items=8, max_tokens=400, label_smoothing=0.0, patience=4
)


@pytest.fixture(scope="module")
def chat(tiny_llm: Path) -> Chat:
    return load_chat(tiny_llm, name="tiny")


def checkpoint(folder: Path) -> Checkpoint:
    return open_checkpoint(settings(folder))


def settings(folder: Path, **changes: object) -> GenerativeSettings:
    return GenerativeSettings.model_validate(
        {"path": str(folder), "task": task(), "device": "cpu", "max_tokens": 400} | changes
    )


def asked(
    served: GenerativeSettings, texts: Sequence[str]
) -> tuple[list[PreparedText], list[Prediction]]:
    """Return what the back end makes of texts, and what it says about them."""
    classifier = generative.load(served)

    async def ask() -> tuple[list[PreparedText], list[Prediction]]:
        try:
            prepared = [p for p in await classifier.prepare(texts) if isinstance(p, PreparedText)]
            found = await classifier.classify(prepared)
        finally:
            await classifier.close()
        return prepared, [p for p in found if isinstance(p, Prediction)]

    return asyncio.run(ask())


def answers(served: GenerativeSettings, texts: Sequence[str]) -> list[str]:
    """Return the labels of texts."""
    _, found = asked(served, texts)
    chosen = [max(zip(p.probabilities or (), served.task.names, strict=True)) for p in found]
    return [name for _, name in chosen]


def test_the_prompt_is_that_of_serving_byte_for_byte(tiny_llm: Path, chat: Chat) -> None:
    texts = ["Hello", "", "酒店很干净。", "blah " * 400, *FORGERIES]
    lessons = Lessons(task(), chat, max_tokens=400, seed=1)
    rows = lessons.rows([Example(text, "ham") for text in texts], shuffled=False)
    prepared, _ = asked(settings(tiny_llm, reuse_prefix=False), texts)
    for row, text in zip(rows.inputs, prepared, strict=True):
        assert row.to(torch.int32).numpy().tobytes() == text.payload[0]


def test_the_labels_are_listed_in_many_orders_and_the_answer_goes_with_them(chat: Chat) -> None:
    """With letters, B is another label in every order."""
    lessons = Lessons(LETTERS, chat, max_tokens=400, seed=1)
    rows = lessons.rows([Example("Hello", "green")] * 60, shuffled=True)
    seen = {}
    for _ in range(60):
        drawn = rows.of([0, 1, 2, 3, 4])
        assert drawn.groups is not None
        assert sorted(i for group in drawn.groups for i in group) == [0, 1, 2, 3, 4]
        orders = []
        for group in drawn.groups:
            first = drawn.inputs[group[0]]
            assert all(torch.equal(first, drawn.inputs[i]) for i in group), "prompts begin alike"
            shown = chat.tokens.decode(first.tolist())
            lines = tuple(line for line in shown.splitlines() if line.startswith("- "))
            for i in group:
                right = int(drawn.targets[i].argmax())
                answer = chat.tokens.decode([lessons.token_ids[right]])
                assert f"- {answer} = green" in lines
                seen[lines] = answer
            orders.append(lines)
        assert len(set(orders)) == 2, "or a step teaches the letter of its most frequent label"
    assert len(seen) == 6
    assert set(seen.values()) == {"A", "B", "C"}


def test_one_example_is_drawn_in_one_order(chat: Chat) -> None:
    rows = Lessons(LETTERS, chat, max_tokens=400, seed=1).rows([Example("a", "red")], shuffled=True)
    drawn = rows.of([0])
    assert drawn.groups == [[0]]
    assert list(drawn.parts(None, 0)) == [[0]]


def test_batches_of_rows_without_padding_are_mixed_in_length() -> None:
    """Labels differ in length: a batch of similar lengths can be all of one label."""
    lengths = [*range(1, 129)]
    widths = {}
    for is_padded in (True, False):
        made = batches(lengths, 8, random.Random(1), is_padded=is_padded)
        assert sorted(i for batch in made for i in batch) == [*range(128)]
        spread = [max(batch) - min(batch) for batch in made]
        widths[is_padded] = sum(spread) / len(spread)
    assert widths[True] < 20
    assert widths[False] > 60


def test_the_loss_is_that_of_the_answers_token_over_the_vocabulary(
    tiny_llm: Path, chat: Chat
) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32).eval()
    lessons = Lessons(task(), chat, max_tokens=400, seed=1)
    rows = lessons.rows(TEACH[:5], shuffled=True)
    batch, mask = padded(rows.inputs)
    logits = answer_model(model, lessons.token_ids, device="cpu")(batch, mask).logits
    ours = torch.nn.functional.cross_entropy(logits, rows.targets.argmax(1), reduction="none")
    for row, target, loss in zip(rows.inputs, rows.targets, ours, strict=True):
        whole = model(row[None]).logits[0, -1].log_softmax(-1)
        token = lessons.token_ids[int(target.argmax())]
        assert float(loss.detach()) == pytest.approx(-float(whole[token].detach()), abs=1e-4)


@pytest.mark.parametrize("lora", [None, Lora(rank=8)], ids=["full", "lora"])
def test_what_was_taught_is_served(tiny_llm: Path, tmp_path: Path, lora: Lora | None) -> None:
    seen: list[EpochReport] = []
    report = fit_answers(
        TEACH, task(), base=checkpoint(tiny_llm), folder=tmp_path / "m", settings=QUICK, lora=lora,
        held_out=HELD, device="cpu", on_epoch=seen.append, card=lambda made: f"{made.examples}",
    )  # fmt: skip
    assert report.epochs == tuple(seen)
    assert min(e.held_out_loss or 9 for e in seen) < 0.5
    assert (tmp_path / "m" / "README.md").read_text() == "48"
    saved = str(tmp_path / "m" / "task.yaml")
    served = (
        settings(tmp_path / "m", task=saved)
        if lora is None
        else settings(tiny_llm, task=saved, adapter=str(tmp_path / "m"))
    )
    assert served.task == task()
    assert answers(served, [e.text for e in TEACH]) == [e.label for e in TEACH]


def test_memory_is_bounded_by_tokens_and_the_result_is_the_same(
    tiny_llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a step is computed at once, in parts, or with every layer twice."""
    computed: list[int] = []
    forward = transformers.Qwen2ForCausalLM.forward

    def spy(self: object, input_ids: torch.Tensor, **given: object) -> object:
        computed.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **given)

    monkeypatch.setattr(transformers.Qwen2ForCausalLM, "forward", spy)
    whole = replace(QUICK, epochs=1, batch_items=12)

    def fit(settings: FitSettings) -> tuple[float, int]:
        computed.clear()
        report = fit_answers(
            TEACH[:24], task(), base=checkpoint(tiny_llm), folder=tmp_path / "m", settings=settings,
            device="cpu",
        )  # fmt: skip
        return report.loss, max(computed[2:])  # after two of the proof that prompts may be shared

    loss, widest = fit(whole)
    parts = replace(whole, pass_tokens=widest * 2 // 3)
    for settings_ in (parts, replace(parts, checkpointing=True)):
        other, most = fit(settings_)
        assert other == pytest.approx(loss, rel=1e-3)
        assert most <= widest * 2 // 3


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 100))
def test_every_row_is_in_one_pass_within_the_budget(lengths: list[int], tokens: int) -> None:
    for shared in (0, min(lengths) - 1):
        parts = list(passes(lengths, tokens, shared))
        assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
        for part in parts:
            own = [lengths[i] - shared for i in part]
            as_one = -(-(shared + sum(own)) // LENGTH_STEP) * LENGTH_STEP
            wide = as_one if shared else len(part) * max(own)
            assert len(part) == 1 or wide <= tokens
        whole = sorted(range(len(lengths)), key=lengths.__getitem__)
        assert list(passes(lengths, None, shared)) == [whole]


@given(labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=50))
def test_balanced_weights_let_every_label_count_alike(labels: list[str]) -> None:
    examples = [Example("text", label, weight=0.5) for label in labels]
    sums = dict.fromkeys(labels, 0.0)
    for example in balanced(examples, like=examples):
        sums[example.label] += example.weight
    assert all(found == pytest.approx(0.5 * len(labels) / len(sums)) for found in sums.values())
    unseen = [Example("text", "d", weight=0.5)]
    assert balanced(unseen, like=examples) == unseen


def test_a_rare_label_counts_as_much_as_a_frequent_one(tiny_llm: Path, tmp_path: Path) -> None:
    """The answers cannot depend on the text, so that they show the weights and nothing else."""
    same = [Example("Hello", "ham")] * 14 + [Example("Hello", "spam")] * 2
    found = {}
    for weighting in ("none", "balanced"):
        tuning = replace(
            QUICK, epochs=60, learning_rate=2e-3, batch_items=16, class_weights=weighting
        )
        folder = tmp_path / weighting
        fit_answers(
            same, task(), base=checkpoint(tiny_llm), folder=folder, settings=tuning, device="cpu"
        )
        _, [answer] = asked(settings(folder), ["Hello"])
        assert answer.probabilities is not None
        found[weighting] = answer.probabilities[task().names.index("spam")]
    assert found["none"] < 0.3
    assert 0.35 < found["balanced"] < 0.65


def test_a_whole_model_keeps_the_tokenizer_to_the_last_byte(tiny_llm: Path, tmp_path: Path) -> None:
    template = tmp_path / "other.jinja"
    template.write_text("{# ours #}" + load_chat(tiny_llm, name="tiny").template)
    once = FitSettings(epochs=1, batch_items=8, max_tokens=400, label_smoothing=0.0)
    fit_answers(
        TEACH[:8], task(), base=checkpoint(tiny_llm), folder=tmp_path / "m", settings=once,
        device="cpu", chat_template=str(template),
    )  # fmt: skip
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "m" / name).read_bytes() == (tiny_llm / name).read_bytes()
    assert load_chat(tmp_path / "m", name="m").template == template.read_text()
    other = task(instruction="Is it an advertisement?")
    with pytest.raises(ConfigError, match=r"m was tuned with another prompt .* to its task\.yaml"):
        generative.load(settings(tmp_path / "m", task=other))


def test_ctrl_c_before_the_first_epoch_leaves_nothing(tiny_llm: Path, tmp_path: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_answers(
            TEACH, task(), base=checkpoint(tiny_llm), folder=tmp_path / "m", settings=QUICK,
            held_out=HELD, device="cpu", on_step=stop,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_sigterm_leaves_the_best_epoch(tiny_llm: Path, tmp_path: Path) -> None:
    """A batch system or a container that ends the command must not lose hours."""
    (tmp_path / "task.yaml").write_text(json.dumps(task().model_dump(exclude_defaults=True)))
    rows = [{"text": e.text, "label": e.label} for e in TEACH]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"--data": "data.jsonl", "--base": tiny_llm, "--task": "task.yaml", "--out": "m"}
    command = [sys.executable, "-m", "streamlabel", "train", "llm", "--device", "cpu"]
    command += ["--epochs", "9999", "--patience", "9999", "--max-tokens", "400"]
    command += [str(part) for option in given.items() for part in option]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as training:
        assert training.stderr is not None
        next(line for line in training.stderr if line.startswith("epoch 1"))
        training.send_signal(signal.SIGTERM)
        _, said = training.communicate(timeout=60)
    assert training.returncode == 130, said
    assert "interrupted; the best epoch so far is in" in said
    assert (tmp_path / "m" / "adapter_model.safetensors").is_file()


def test_examples_that_do_not_fit_the_task_are_refused(tiny_llm: Path, tmp_path: Path) -> None:
    def fit(example: Example, what: TaskSettings) -> None:
        fit_answers(
            [example], what, base=checkpoint(tiny_llm), folder=tmp_path / "m", settings=QUICK,
            device="cpu",
        )  # fmt: skip

    with pytest.raises(ConfigError, match="labels that the task does not have: eggs"):
        fit(Example("Hello", "eggs"), task())
    with pytest.raises(ConfigError, match="exactly one label"):
        fit(Example("Hello"), task())
    with pytest.raises(ConfigError, match="scoring: trie reads answers of several tokens"):
        fit(Example("Hello", "ham"), task(scoring="trie"))


# The command


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", "llm", *map(str, arguments)])
    return done.exit_code, done.stderr


def test_the_command_makes_what_its_card_says(tiny_llm: Path, tmp_path: Path) -> None:
    data, about, out = tmp_path / "train.jsonl", tmp_path / "spam.yaml", tmp_path / "adapter"
    rows = [{"text": example.text, "label": example.label} for example in TEACH]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    about.write_text(json.dumps(SPAM))
    base = ("--data", data, "--base", tiny_llm, "--task", about, "--out", out, "--device", "cpu")
    code, said = run(*base, "--epochs", "1", "--class-weights", "balanced")
    assert code == 0, said
    assert "class weights: balanced" in (out / "README.md").read_text()
    assert "44 training texts, 4 held out; labels ham, spam" in said
    assert "epoch 1: loss" in said
    assert "adapter: FOLDER" in (out / "README.md").read_text()
    assert run(*base)[0] == 2, "never over a model"
    served = settings(tiny_llm, task=str(out / "task.yaml"), adapter=str(out))
    assert len(answers(served, ["Hello"])) == 1


def test_the_command_names_lines_and_settings_to_mend(tiny_llm: Path, tmp_path: Path) -> None:
    data, about = tmp_path / "train.jsonl", tmp_path / "spam.yaml"
    data.write_text('{"text": "Hello", "label": "ham"}\n{"text": "Hi", "label": "eggs"}\n')
    about.write_text(json.dumps(SPAM))
    base = ("--data", data, "--base", tiny_llm, "--out", tmp_path / "m")
    code, said = run(*base, "--task", about)
    assert code == 2
    assert "train.jsonl, line 2: label 'eggs' is unknown; the labels are ham, spam" in said
    about.write_text("labels: [{name: ham}]")
    code, said = run(*base, "--task", about)
    assert code == 2
    assert "model.task" in said
    assert run(*base, "--task", tmp_path / "none.yaml")[0] == 2


def test_the_command_teaches_conversations(tiny_llm: Path, tmp_path: Path) -> None:
    data, about, out = tmp_path / "train.jsonl", tmp_path / "spam.yaml", tmp_path / "adapter"
    rows = [{"messages": ["Hello", each.text], "label": each.label} for each in TEACH]
    rows += [{"messages": ["A", "B", each.text], "label": each.label} for each in HELD]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = ("--data", data, "--base", tiny_llm, "--task", about, "--out", out, "--device", "cpu")
    about.write_text(json.dumps(SPAM))
    code, said = run(*base, "--epochs", "1")
    assert code == 2
    assert "train.jsonl, line 1: the text is a conversation; set conversations: true in" in said
    about.write_text(json.dumps(SPAM | {"conversations": True}))
    code, said = run(*base, "--epochs", "1")
    assert code == 0, said
    served = settings(tiny_llm, task=str(out / "task.yaml"), adapter=str(out))
    assert served.task.conversations
    assert len(answers(served, ['[{"role":"user","content":"Hello"}]'])) == 1
