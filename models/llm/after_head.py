"""What a language model does to its logits after the output layer: scaling, soft caps.

An engine that computes only some rows of the output matrix leaves it out. Here the model's own
forward is run without its layers: what they would return goes in, and the output layer passes it
on, so what comes out is what the model does afterwards, whatever its architecture calls it.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import ConfigError
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.transformers_errors import one_line, unusable

__all__ = ["AfterHead", "open_after_head"]

Logits = NDArray[np.float32]

# Logits of real models lie between these; the step shows functions that are not a scale, too.
_TRIED: Final = np.linspace(-60, 60, 49, dtype=np.float32)


class _Output(SimpleNamespace):
    """The output of a model's layers: hidden states, and None for everything else."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 the models read many names
        return None

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 a tensor
        return self.last_hidden_state if index == 0 else None


class AfterHead:
    """The function that turns the output layer's numbers into the model's logits.

    Args:
        model: a causal language model; its weights are neither read nor needed.

    Raises:
        ConfigError: there is no such function of single logits.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 untyped library
        import torch

        self._model = model
        seen: dict[str, Any] = {}
        head = model.get_output_embeddings()
        is_matrix = isinstance(head, torch.nn.Linear)
        if not is_matrix:
            raise _refused("its output layer is not one matrix")
        if getattr(head, "bias", None) is not None:
            raise _refused("its output layer has a bias")

        def layers(*_: object, inputs_embeds: Any, **__: object) -> _Output:  # noqa: ANN401 tensor
            return _Output(last_hidden_state=inputs_embeds)

        def output_layer(hidden: Any) -> Any:  # noqa: ANN401 tensors
            seen["hidden"] = hidden
            return hidden

        for part in (model.base_model, model.get_decoder()):
            part.forward = layers
        head.forward = output_layer
        tried = self(_TRIED[None])[0]
        if not np.array_equal(seen["hidden"].numpy().ravel(), _TRIED):
            raise _refused("it changes the hidden state before the output layer")
        alone = np.array([self(value.reshape(1, 1))[0, 0] for value in _TRIED])
        if not np.allclose(tried, alone, rtol=1e-6, atol=1e-6):
            raise _refused("a logit depends on the logits of other tokens")
        self.changes_nothing: bool = np.array_equal(tried, _TRIED)

    def __call__(self, logits: Logits) -> Logits:
        """Return the logits (R, U) of the numbers (R, U) that the output layer returned."""
        import torch

        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(logits, dtype=np.float32))[:, None]
            found = self._model(inputs_embeds=given, use_cache=False).logits[:, 0]
            result: Logits = found.float().numpy()
        return result


def open_after_head(checkpoint: Checkpoint) -> Callable[[Logits], Logits] | None:
    """Return what the model does after its output layer; None if it does nothing.

    Takes neither the weights nor their memory.

    Raises:
        ConfigError: it cannot be found out, or is no function of single logits.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        after = AfterHead(model)
    except ConfigError:
        raise
    # A forward with other needs than layers and an output layer fails in any way.
    except unusable() as error:
        raise _refused(f"{type(error).__name__}: {one_line(error)}") from error
    return None if after.changes_nothing else after


def _refused(why: str) -> ConfigError:
    return ConfigError(
        "model.mode: head computes the answers' rows of the output layer only, and what this model"
        f" does around it cannot be applied to them ({why}); set one_token"
    )
