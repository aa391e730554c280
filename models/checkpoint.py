"""A model folder, checked before anything heavy is imported: is it one we can answer with?"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlabel.config.model import CausalSettings, EncoderSettings, VllmSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.labels import LabelSet, ProblemType

__all__ = ["Checkpoint", "open_checkpoint"]

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
PLACEHOLDER = re.compile(r"LABEL_\d+")
# No *.bin and no *.py: unpickling and remote code run whatever their author wrote.
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
PROBLEM_TYPES: Mapping[str, ProblemType] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
}
# Their position table starts behind the padding token's row.
OFFSET_POSITIONS = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "data2vec-text"}
)
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
NO_LIMIT_TOKENS = 1_000_000  # tokenizers say "no limit" with 10**30


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a sequence classifier's files.

    Attributes:
        folder: where the files are; of a hub id, its snapshot.
        name: as configured: the folder's last part or the hub id.
        config: its config.json.
        tokenizer_config: its tokenizer_config.json, empty if it has none.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    tokenizer_config: dict[str, Any]

    def label_set(self, settings: EncoderSettings) -> LabelSet:
        """Return the labels in the order of the model's outputs.

        Raises:
            ConfigError: names are missing or their number is not that of the model's outputs.
            ModelLoadError: the model is a regression: its output is no probability.
        """
        own = self._own_labels()
        problem_type = self._problem_type(settings, outputs=len(own))
        if settings.labels is None:
            if all(PLACEHOLDER.fullmatch(name) for name in own):
                raise ConfigError(
                    f"model.labels: the model names its classes only {own[0]} to {own[-1]}; list"
                    f" {len(own)} names in the order of its outputs"
                )
            return LabelSet(tuple(own), problem_type)
        if len(settings.labels) != len(own):
            raise ConfigError(
                f"model.labels: {len(settings.labels)} names for a model with {len(own)} outputs;"
                f" list {len(own)}"
            )
        return LabelSet(tuple(settings.labels), problem_type)

    def max_tokens(self, settings: EncoderSettings) -> int:
        """Return the longest row the model takes, special tokens included.

        Raises:
            ConfigError: more was asked for than the model has positions, or nothing says how many.
        """
        own = [limit for limit in (self._positions(), self._tokenizer_limit()) if limit]
        if settings.max_tokens is None:
            if not own:
                raise ConfigError(
                    "model.max_tokens: the model does not say how long a text it takes; set it"
                )
            return min(own)
        positions = self._positions()
        if positions and settings.max_tokens > positions:
            raise ConfigError(
                f"model.max_tokens: {settings.max_tokens} is more than the model's {positions};"
                " lower it"
            )
        return settings.max_tokens

    def refuse_other_vocabulary(self, tokenizer_size: int) -> None:
        """Raise ModelLoadError if the tokenizer has tokens that the model does not know.

        A device would fail on the first text that has one; CUDA even loses its whole context.
        """
        size = self.config.get("vocab_size")
        if isinstance(size, int) and tokenizer_size > size:
            raise ModelLoadError(
                f"model.path: the tokenizer of {self.name} has {tokenizer_size} tokens and the"
                f" model {size}; save the tokenizer that the model was trained with"
            )

    def _own_labels(self) -> list[str]:
        names = self.config.get("id2label")
        if not names:  # transformers' own default
            return [f"LABEL_{i}" for i in range(int(self.config.get("num_labels", 2)))]
        try:
            return [str(names[str(i)]) for i in range(len(names))]
        except KeyError as error:
            raise ModelLoadError(
                f"model.path: id2label in {self.folder / 'config.json'} has no entry {error};"
                f" number its {len(names)} classes from 0"
            ) from error

    def _problem_type(self, settings: EncoderSettings, *, outputs: int) -> ProblemType:
        if settings.problem_type != "auto":
            chosen: ProblemType = settings.problem_type
            if chosen == "single_label" and outputs == 1:
                raise ModelLoadError(
                    "model.problem_type: single_label needs two outputs or more and the model has"
                    " one; set multi_label if its sigmoid is the probability of the one class"
                )
            return chosen
        own = self.config.get("problem_type")
        if own == "regression" or (own is None and outputs == 1):
            raise ModelLoadError(
                f"model.path: the model is a regression with {outputs} output(s), not a"
                " classifier; name a model with classes, or set model.problem_type"
            )
        return PROBLEM_TYPES.get(own or "", "single_label")

    def _positions(self) -> int | None:
        positions = self.config.get("max_position_embeddings")
        if not isinstance(positions, int) or positions < 1:
            return None
        if self.config.get("model_type") in OFFSET_POSITIONS:
            padding = self.config.get("pad_token_id")
            positions -= (1 if padding is None else int(padding)) + 1
        return positions

    def _tokenizer_limit(self) -> int | None:
        limit = self.tokenizer_config.get("model_max_length")
        return int(limit) if limit and 0 < limit < NO_LIMIT_TOKENS else None


def open_checkpoint(settings: EncoderSettings | CausalSettings | VllmSettings) -> Checkpoint:
    """Return the model folder of ``model.path``, fetched from the hub if it is a hub id.

    Raises:
        ConfigError: there is no such folder and no revision that would make it a hub id.
        ModelLoadError: files are missing, unreadable or only in a format that can run code.
    """
    folder = Path(settings.path).expanduser()
    is_folder = folder.is_dir()
    if not is_folder:
        folder = _fetch(settings)
    config = _read_json(folder / "config.json", required=True)
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")):
            raise ModelLoadError(
                f"model.path: {folder} has its weights only as .bin, which can run code when it is"
                " read; convert them to model.safetensors"
            )
        raise ModelLoadError(f"model.path: {folder} has no model.safetensors; name a whole model")
    if not any(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)):
        # transformers would go on with an empty vocabulary: every word unknown
        raise ModelLoadError(f"model.path: {folder} has no tokenizer.json; save it with the model")
    return Checkpoint(
        folder=folder,
        name=folder.resolve().name if is_folder else settings.path,
        config=config,
        tokenizer_config=_read_json(folder / "tokenizer_config.json", required=False),
    )


def _fetch(settings: EncoderSettings | CausalSettings | VllmSettings) -> Path:
    if settings.revision is None or not HUB_ID.fullmatch(settings.path):
        raise ConfigError(
            f"model.path: there is no folder {settings.path}; correct it, or for a hub id set"
            " model.revision to the commit to pin"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                settings.path, revision=settings.revision, allow_patterns=list(HUB_FILES)
            )
        )
    # The hub's errors share no base below these two; both mean that there is no model.
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"model.path: {settings.path} at revision {settings.revision} cannot be fetched"
            f" ({type(error).__name__}); check both and the network, or name a folder"
        ) from error


def _read_json(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if not required:
            return {}
        raise ModelLoadError(
            f"model.path: {path.parent} has no {path.name}; name a folder that"
            " transformers' save_pretrained wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"model.path: {path} cannot be read ({error}); repair it") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"model.path: {path} is not a JSON object; repair it")
    return content
