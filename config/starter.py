"""The configuration file that ``streamlabel init`` writes: the usual settings, with comments.

A setting that is commented out is a suggestion: removing the ``#`` puts it into effect.
"""

import json
from types import MappingProxyType
from typing import Final

import yaml

__all__ = ["BACKENDS", "starter_file"]

_HEAD: Final = """\
# Settings of a streamlabel service; settings that are not listed have their defaults.
#   streamlabel config show -c {file}    prints every setting with its value and source
#   streamlabel check -c {file}          tests brokers, topics, model and a probe text
# Relative paths start at the folder of this file. The variable STREAMLABEL__KAFKA__GROUP_ID
# overrides kafka.group_id, and so on for every setting; use variables for passwords.
kafka:
  bootstrap_servers: {brokers} # several: host1:9092,host2:9092
  group_id: streamlabel # processes with the same group share the partitions
  create_topics: true # for trying out; in production create them with the partitions you need
  # security:
  #   protocol: SSL # SASL_SSL needs sasl_mechanism, username and password
input:
  topic: {topic}
  format: json # {{"text": "...", "id": "optional", "metadata": {{}}}}; or text, cloudevents
  # text_path: body.text # path of the text in the JSON object
  # start_at: latest # a new group starts with new records, not with the oldest one
output:
  labels_topic: {topic}.labels # label, confidence, probabilities, source
  review_topic: {topic}.review # the same with text and reasons, for human review
  dead_letter_topic: {topic}.dead-letters # failed records: original bytes and reason
"""

_TASK: Final = """\
  task:
    instruction: Decide whether the message is spam.
    labels:
      - name: ham
        definition: personal messages, and notifications that the recipient asked for
      - name: spam
        definition: advertising, fraud, prizes
    answer_with: letters # A, B: single tokens for every model
"""

_MODELS: Final = {
    "encoder": """\
model:
  backend: encoder
  path: {model} # a folder that save_pretrained wrote; a hub id needs revision: its commit
  device: auto # npu, then cuda, then cpu
  # max_tokens: 256 # longer texts are truncated and flagged
  # long_text: windows # read long texts in overlapping parts instead of truncating them
""",
    "generative": """\
model:
  backend: generative # the label is read from the probabilities of the first generated token
  path: {model} # a chat model: a folder with a chat template; a hub id needs revision: its commit
  device: auto # npu, then cuda, then cpu
  max_tokens: 2048
  # adapter: ./adapter # a LoRA adapter, for example of streamlabel train llm
"""
    + _TASK,
    "prompted": """\
model:
  backend: prompted # the model writes a JSON object with a score for every label: slow and coarse
  path: {model} # a chat model: a folder with a chat template; a hub id needs revision: its commit
  device: auto # npu, then cuda, then cpu
  max_tokens: 2048
"""
    + _TASK,
    "vllm": """\
model:
  backend: vllm # vLLM's engine in the worker process
  mode: one_token # or prompted, head, encoder: docs/generative.md
  path: {model} # a chat model: a folder with a chat template; a hub id needs revision: its commit
  device: auto # cuda, npu or cpu: what the installed vLLM is built for
  max_tokens: 2048
  # kv_cache_gib: 4 # on a CPU
"""
    + _TASK,
    "remote": """\
model:
  backend: remote # an OpenAI-compatible endpoint; API key: variable STREAMLABEL__MODEL__API_KEY
  base_url: http://localhost:8000/v1
  model: {model} # name of the model at the endpoint
  method: one_token # prompted: for endpoints without log-probabilities
  # concurrency: 32 # concurrent requests
"""
    + _TASK,
    "fake": """\
model:
  backend: fake # no model: labels by checksum, to try out delivery through Kafka
  labels: [ham, spam]
""",
}

_TAIL: Final = """\
routing:
  threshold: 0.8 # records below this confidence go to review; remove it beside a calibration
  # margin: 0.1 # minimum difference between the two most probable labels
  # thresholds: {{}} # by label, for example spam: 0.95
  # audit_share: 0.01 # fraction of the accepted records that also goes to review; needs audit.key
# audit:
#   key: {key} # random, for trying out; in production a variable or a secret file
# batching:
#   max_batch_tokens: 4096 # padding included; halved when the device runs out of memory
# delivery:
#   guarantee: exactly_once # transactions: no duplicate outputs, even if a process crashes
# http:
#   port: 8080 # /livez, /readyz, /startupz, /metrics
# logging:
#   format: json # auto: readable on a terminal, JSON elsewhere
"""

# Names of models where none is given.
_NAMES: Final = {"remote": "my-model"}

BACKENDS: Final = MappingProxyType(_MODELS)


def starter_file(
    backend: str, *, file: str, model: str | None, topic: str, brokers: str, audit_key: str
) -> str:
    """Return the content of a configuration file that loads.

    Args:
        backend: one of BACKENDS.
        file: its name, for the commands in its comments.
        model: folder, hub id, or the endpoint's name of it; None: a placeholder.
        topic: the input topic; the outputs are named after it.
        brokers: ``kafka.bootstrap_servers``.
        audit_key: a random key, hexadecimal.
    """
    return (_HEAD + _MODELS[backend] + _TAIL).format(
        file=file,
        model=_scalar(model or _NAMES.get(backend, "./my-model")),
        topic=_scalar(topic),
        brokers=_scalar(brokers),
        key=_scalar(audit_key),
    )


def _scalar(text: str) -> str:
    """Return YAML for a text, plain where it can be."""
    try:
        is_plain = yaml.safe_load(f"- {text} # a comment") == [text]
    except yaml.YAMLError:
        is_plain = False
    return text if is_plain else json.dumps(text)
