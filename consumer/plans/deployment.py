"""A deployment: a model, with the policy and encoder for its predictions. Immutable."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from streamlabel.config.settings import Settings
from streamlabel.consumer.output.formats import ValueEncoder
from streamlabel.consumer.output.outcome import encoder_for
from streamlabel.consumer.output.output_size import output_sizes, refuse_too_large
from streamlabel.consumer.routing.calibrated_router import policy_for
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier, ModelIdentity

__all__ = ["Deployment", "deploy"]


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """The unit of hot swap: every change creates another deployment.

    Attributes:
        id: its name in plans; unique among the deployments of a service.
        classifier: the loaded model; closed by the code that loaded it.
        policy: calibration, thresholds, margins and audit.
        encoder: encodes the results.
        task: its name; None: the stream has only one.
    """

    id: str
    classifier: Classifier
    policy: RoutingPolicy
    encoder: ValueEncoder
    task: str | None = None

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model."""
        return self.classifier.identity

    def tightened(self, step: float) -> "Deployment":
        """Return this deployment with stricter thresholds, see ``RoutingPolicy.tightened``."""
        return replace(self, policy=self.policy.tightened(step))


def deploy(
    settings: Settings,
    classifier: Classifier,
    *,
    limit_bytes: Callable[[str], int],
    calibration: CalibrationFile | None = None,
) -> Deployment:
    """Return the deployment of the one model that the settings name.

    Args:
        settings: routing and outputs.
        classifier: the model, loaded.
        limit_bytes: largest output that a topic accepts.
        calibration: as ``read_calibration`` returned it for the same settings.

    Raises:
        ConfigError: the routing does not match the model's labels, the calibration does not match
            the model, or an output is larger than its topic accepts.
    """
    policy = policy_for(classifier, settings, calibration)
    encoder = encoder_for(settings, classifier, policy)
    sizes = output_sizes(
        encoder, classifier.labels, settings.output, is_calibrated=calibration is not None
    )
    refuse_too_large(sizes, classifier.labels, limit_bytes)
    return Deployment("model", classifier, policy, encoder)
