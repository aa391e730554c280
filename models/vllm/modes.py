"""The modes of vLLM: for each, the engine to start, its requests and its start-up test."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from streamlabel.config.engines import VllmSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.encoder.words import build_rows, load_words
from streamlabel.models.files.digest import model_digest
from streamlabel.models.label_scoring.label_reads import LabelReads, compile_reads, prompt_version
from streamlabel.models.label_scoring.label_tokens import LabelTokens
from streamlabel.models.label_scoring.taught_prompt import refuse_other_prompt, tuned_folders
from streamlabel.models.llm.after_head import open_after_head
from streamlabel.models.llm.loading import causal_digest
from streamlabel.models.prompts.build_prompt import Prompt, build_prompt
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.vllm import proof
from streamlabel.models.vllm.answers import FirstTokenReader, HeadReader
from streamlabel.models.vllm.encoder import EncoderReader, as_encoder
from streamlabel.models.vllm.opened import Opened, cached_tokens, prove_causal
from streamlabel.models.vllm.plan import (
    chat_of,
    closed_on_error,
    engine_length,
    head_overrides,
    keep_of,
    open_for_engine,
    question_of,
    question_of_rows,
    task_of,
)
from streamlabel.models.vllm.policies import open_policies
from streamlabel.models.vllm.reasoning import open_reasoning
from streamlabel.models.vllm.start import Plan, start_engine

__all__ = ["OPENERS"]


def open_one_token(settings: VllmSettings) -> Opened:
    """Start an engine for one-token answers."""
    task = task_of(settings)
    if task.policies:
        return open_policies(settings)
    if task.reasoning is not None:
        return open_reasoning(settings)
    labels = LabelSet(task.names)
    checkpoint, chat = chat_of(settings)
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(causal_digest, checkpoint, labels, settings.adapter)
        length = engine_length(checkpoint, settings, extra=1)
        prompt, reads = _compile(task, chat, settings, max_tokens=length - 1)
        path_tokens = max(map(len, reads.paths))
        if path_tokens:  # tokens that are appended to a prompt need room too
            length = engine_length(checkpoint, settings, extra=1 + path_tokens)
            prompt, reads = _compile(task, chat, settings, max_tokens=length - 1 - path_tokens)
        version = prompt_version(prompt, reads)
        refuse_other_prompt(tuned_folders(checkpoint.folder, settings.adapter), version)
        question = question_of(prompt, wanted=reads.children[0])
        engine = start_engine(settings, checkpoint, Plan(length, question))
        with closed_on_error(engine):
            reads_by_id = engine.capabilities.label_ids
            if not isinstance(reads, LabelTokens):
                engine.require_label_ids("model.task.scoring: trie needs", remedy="set one_token")
            reader = FirstTokenReader(
                prompt=prompt,
                reads=reads,
                chat=chat,
                runtime=engine.runtime,
                cached_tokens=cached_tokens(engine, prompt),
                reviews_truncated=settings.long_text == "review",
                reads_by_id=reads_by_id,
            )
            if reads_by_id:
                proof.prove_ids(engine.runtime, prompt.encode("1").ids, reads.children[0])
            seen, details = prove_causal(engine, reader, prompt)
            mass = ",".join(f"{p.off_label_mass or 0:.4f}" for p in seen)
            return Opened(
                labels,
                engine.identity(
                    checkpoint,
                    digest=digest.result(),
                    prompt_version=version,
                    details=details | {"scoring": task.scoring, "probe_off_label_mass": mass},
                ),
                engine.hints(max_in_flight=settings.max_in_flight, max_tokens=prompt.max_tokens),
                reader,
                engine,
                seen[0].probabilities or (),
            )


def open_head(settings: VllmSettings) -> Opened:
    """Start an engine whose head is made of the labels' rows of the output embedding matrix."""
    task = task_of(settings)
    labels = LabelSet(task.names)
    checkpoint, chat = chat_of(settings)
    length = engine_length(checkpoint, settings, extra=1)
    prompt, reads = _compile(task, chat, settings, max_tokens=length - 1)
    if not isinstance(reads, LabelTokens):
        raise ConfigError("model.task.scoring: mode head needs one_token")
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(causal_digest, checkpoint, labels, None)
        overrides = head_overrides(checkpoint, chat, reads)
        after = open_after_head(checkpoint)
        version = prompt_version(prompt, reads)
        refuse_other_prompt([checkpoint.folder], version)
        engine = start_engine(
            settings,
            checkpoint,
            Plan(
                length,
                question_of(prompt, wanted=reads.ids, reads="head"),
                is_pooling=True,
                overrides=overrides,
            ),
        )
        with closed_on_error(engine):
            reader = HeadReader(
                prompt=prompt,
                labels=reads,
                runtime=engine.runtime,
                after=after,
                cached_tokens=cached_tokens(engine, prompt),
                reviews_truncated=settings.long_text == "review",
            )
            seen, details = prove_causal(engine, reader, prompt)
            proof.prove_distinct(seen)
            return Opened(
                labels,
                engine.identity(
                    checkpoint,
                    digest=digest.result(),
                    prompt_version=version,
                    details=details | {"after_head": "applied" if after else "nothing"},
                ),
                engine.hints(max_in_flight=settings.max_in_flight, max_tokens=prompt.max_tokens),
                reader,
                engine,
                seen[0].probabilities or (),
            )


def open_encoder(settings: VllmSettings) -> Opened:
    """Start an engine for a BERT-type classifier."""
    checkpoint = open_for_engine(settings)
    wishes = as_encoder(settings, checkpoint)
    labels = checkpoint.label_set(wishes)
    max_tokens = checkpoint.max_tokens(wishes, positions=checkpoint.likely_positions())
    rows = build_rows(load_words(checkpoint), wishes, max_tokens)
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(
            model_digest, checkpoint.folder, labels, weights=checkpoint.weights().paths
        )
        question = question_of_rows(rows, labels.problem_type)
        plan = Plan(max_tokens, question, is_pooling=True, needs_whole_rows=True)
        engine = start_engine(settings, checkpoint, plan)
        with closed_on_error(engine):
            reader = EncoderReader(
                rows=rows,
                labels=labels,
                runtime=engine.runtime,
                window_pool=wishes.window_pool,
            )
            seen = proof.ask(reader, engine.runtime)
            compared = engine.own.prove(engine.runtime.call, reader.probabilities)
            return Opened(
                labels,
                engine.identity(
                    checkpoint,
                    digest=digest.result(),
                    details=proof.fingerprint(seen) | {"own_forward": compared},
                ),
                engine.hints(max_in_flight=settings.max_in_flight, max_tokens=max_tokens),
                reader,
                engine,
                seen[0].probabilities or (),
            )


OPENERS: Final[Mapping[str, Callable[[VllmSettings], Opened]]] = {
    "one_token": open_one_token,
    "head": open_head,
    "encoder": open_encoder,
}


def _compile(
    task: TaskSettings, chat: Chat, settings: VllmSettings, *, max_tokens: int
) -> tuple[Prompt, LabelReads]:
    prompt = build_prompt(
        task,
        answers="one_token",
        render=chat.render,
        tokenizer=chat.tokens,
        max_tokens=max_tokens,
        keep=keep_of(settings),
    )
    return prompt, compile_reads(task, prompt=prompt.rendered, chat=chat)
