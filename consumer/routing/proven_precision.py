"""What ``model.dtype: auto`` is judged on: the calibration's texts, a sample, or random rows.

A precision that was judged on real texts is better than one judged on random tokens, which moved
probabilities of one model by 0.026 where its texts moved them by 0.001.
"""

from collections.abc import Sequence
from typing import TypeVar

from streamlabel.config.model import EncoderSettings
from streamlabel.config.named_model import PrecisionHint
from streamlabel.models.calibration.calibration_file import CalibrationFile

__all__ = ["hinted_model", "sample_of"]

Model = TypeVar("Model")

# Rows of which precisions are compared; the time of a start grows with them.
_TEXTS = 256


def hinted_model(
    model: Model, calibration: CalibrationFile | None, texts: Sequence[str] = ()
) -> Model:
    """Return the settings of the model with what ``dtype: auto`` is to be judged on.

    Args:
        model: the section of the configuration; only the encoder's has such a test.
        calibration: the precision that its labelled texts were classified in is used again, where
            the device allows it: thresholds were tested with it. None: there is none.
        texts: real ones, used without a calibration.
    """
    if not isinstance(model, EncoderSettings) or model.dtype != "auto":
        return model
    if calibration is not None and calibration.precision is not None:
        used = calibration.precision
        kind = calibration.model.device.split(":")[0]
        hint = PrecisionHint((), calibration.model.dtype, used.exact_layers or 0, kind)
        return model.hinted(hint)
    return model.hinted(PrecisionHint(sample_of(texts))) if texts else model


def sample_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Return up to 256 of the texts, evenly spread."""
    step = max(1, -(-len(texts) // _TEXTS))
    return tuple(texts[::step])
