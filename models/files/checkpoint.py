"""A model folder, checked for a usable model before large libraries are imported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlabel.config.model import CausalSettings, EncoderSettings, VllmSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.files.hub import fetch
from streamlabel.models.files.label_names import count_labels, read_label_names
from streamlabel.models.files.problem_types import read_problem_type
from streamlabel.models.files.weight_files import WeightFiles, find_weights, refuse_adapter

__all__ = ["Checkpoint", "open_checkpoint", "open_folder"]

# No *.bin and no *.py: unpickling and remote code execute arbitrary code of their author.
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
# Names of the maximum length in configurations.
POSITION_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
)
# Model types whose table of positions starts after the entry of the padding token.
OFFSET_POSITIONS = frozenset(
    {
        "camembert", "data2vec-text", "esm", "ibert", "longformer", "mpnet", "roberta",
        "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
NO_LIMIT_TOKENS = 1_000_000  # tokenizers say "no limit" with 10**30


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a sequence classifier's files.

    Attributes:
        folder: with the files; for a hub id, its snapshot.
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
            ConfigError: there are no names, or their number differs from the number of outputs.
            ModelLoadError: the names in config.json cannot be read, or the model is a regression,
                whose output is not a probability.
        """
        count = count_labels(self.config)
        problem_type = read_problem_type(self.config, settings.problem_type, outputs=count)
        if settings.labels is None:
            return LabelSet(tuple(read_label_names(self.config)), problem_type)
        if len(settings.labels) != count:
            raise ConfigError(
                f"model.labels: {len(settings.labels)} names for a model with {count} outputs;"
                f" list {count}"
            )
        return LabelSet(tuple(settings.labels), problem_type)

    def weights(self) -> WeightFiles:
        """Return the files with the weights.

        Raises:
            ModelLoadError: there are none in a format that cannot run code, or one is missing.
        """
        return find_weights(self.folder, self.config)

    def max_tokens(self, settings: EncoderSettings, *, positions: int | None) -> int:
        """Return the longest row the model takes, special tokens included.

        Args:
            settings: may set a lower limit.
            positions: the model's own limit; None if it has none.

        Raises:
            ConfigError: the setting exceeds the model's positions, or no source states a limit.
        """
        if settings.max_tokens is None:
            own = [limit for limit in (positions, self._tokenizer_limit()) if limit]
            if not own:
                raise ConfigError(
                    "model.max_tokens: the model does not state its maximum length; set it"
                )
            return min(own)
        if positions and settings.max_tokens > positions:
            raise ConfigError(
                f"model.max_tokens: {settings.max_tokens} is more than the model's {positions};"
                " lower it"
            )
        return settings.max_tokens

    def stated_positions(self) -> int | None:
        """Return the maximum length that config.json states; None if it states none.

        For a model with a table of positions only the table is reliable: see ``row_limit``.
        """
        found = (self.text_config.get(name) for name in POSITION_NAMES)
        return next((n for n in found if type(n) is int and n > 0), None)

    def likely_positions(self) -> int | None:
        """Return the maximum length of a model that is not loaded in this process (vLLM)."""
        positions = self.stated_positions()
        if positions is None or self.config.get("model_type") not in OFFSET_POSITIONS:
            return positions
        padding = self.config.get("pad_token_id")
        return positions - (1 if padding is None else int(padding)) - 1

    def refuse_other_vocabulary(self, tokenizer_size: int) -> None:
        """Raise ModelLoadError if the tokenizer has tokens that the model does not know.

        A device would fail on the first text with such a token, and CUDA would lose its context.
        """
        size = self.vocabulary
        if size is not None and tokenizer_size > size:
            raise ModelLoadError(
                f"model.path: the tokenizer of {self.name} has {tokenizer_size} tokens and the"
                f" model {size}; save the tokenizer that the model was trained with"
            )

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The part of config.json that is about texts; of most models, all of it."""
        return self.config.get("text_config") or self.config

    @property
    def hidden_size(self) -> int | None:
        """Width of the model; None if config.json does not state it."""
        size = self.text_config.get("hidden_size")
        return size if type(size) is int else None

    @property
    def vocabulary(self) -> int | None:
        """Number of tokens that the model has; None if config.json does not state it."""
        size = self.text_config.get("vocab_size")
        return size if type(size) is int else None

    def _tokenizer_limit(self) -> int | None:
        limit = self.tokenizer_config.get("model_max_length")
        if not isinstance(limit, (int, float)):
            return None
        return int(limit) if 0 < limit < NO_LIMIT_TOKENS else None


def open_checkpoint(settings: EncoderSettings | CausalSettings | VllmSettings) -> Checkpoint:
    """Return the model folder of ``model.path``, downloaded from the hub if it is a hub id.

    Raises:
        ConfigError: there is no such folder, and it cannot be a hub id.
        ModelLoadError: files are missing, unreadable or only in a format that can run code.
    """
    folder = Path(settings.path).expanduser()
    if folder.is_dir():
        return open_folder(folder)
    return open_folder(fetch(settings, patterns=list(HUB_FILES)), name=settings.path)


def open_folder(folder: Path, *, name: str | None = None) -> Checkpoint:
    """Return the model of a folder.

    Args:
        folder: with config.json, weights and tokenizer.
        name: for outputs and messages; default: the folder's last part.

    Raises:
        ModelLoadError: files are missing, unreadable or only in a format that can run code.
    """
    refuse_adapter(folder)
    config = _read_json(folder / "config.json", required=True)
    if config.get("configuration_files"):
        raise ModelLoadError(
            f"model.path: config.json in {folder} names other files for other versions of"
            " transformers (configuration_files); keep the right one as config.json"
        )
    find_weights(folder, config)
    if not any(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)):
        # transformers would continue with an empty vocabulary, in which every word is unknown
        raise ModelLoadError(f"model.path: {folder} has no tokenizer.json; save it with the model")
    return Checkpoint(
        folder=folder,
        name=name or folder.resolve().name,
        config=config,
        tokenizer_config=_read_json(folder / "tokenizer_config.json", required=False),
    )


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
