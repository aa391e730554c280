"""A deployment: a model, with the policy and encoder for its predictions. Immutable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from streamlabel.config.deployments import DeploymentSettings, all_deployments
from streamlabel.config.kafka import OutputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.output.formats import ValueEncoder
from streamlabel.consumer.output.outcome_builder import encoder_for
from streamlabel.consumer.output.output_size import output_sizes, refuse_too_large
from streamlabel.consumer.routing.audit import AuditSample
from streamlabel.consumer.routing.calibrated_router import policy_for
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier, ModelIdentity
from streamlabel.models.core.labels import LabelSet

__all__ = ["Deployment", "deploy"]


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """The unit of hot swap: every change creates another deployment.

    Attributes:
        id: its name in plans; unique among the deployments of a service.
        classifier: the loaded model; closed by the code that loaded it.
        policy: calibration, thresholds, margins and audit.
        encoder: encodes the results.
        topics: of its outputs.
        task: its name; None: the stream has only one.
        stage: name of the stage of a cascade; None: it is none.
        deadline_s: maximum wait for a result; None: no limit.
        max_waiting_items: maximum jobs that wait for it; None: no limit.
    """

    id: str
    classifier: Classifier
    policy: RoutingPolicy
    encoder: ValueEncoder
    topics: OutputSettings
    task: str | None = None
    stage: str | None = None
    deadline_s: float | None = None
    max_waiting_items: int | None = None

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model."""
        return self.classifier.identity

    def tightened(self, step: float) -> "Deployment":
        """Return this deployment with stricter thresholds, see ``RoutingPolicy.tightened``."""
        return replace(self, policy=self.policy.tightened(step))


def deploy(
    model: DeploymentSettings | Settings,
    classifier: Classifier,
    *,
    limit_bytes: Callable[[str], int],
    calibration: CalibrationFile | None = None,
    deployment_id: str | None = None,
) -> Deployment:
    """Return the deployment of a model.

    Args:
        model: its settings; or those of a service whose only model it is.
        classifier: the model, loaded.
        limit_bytes: largest output that a topic accepts.
        calibration: as ``read_calibration`` returned it for the same settings.
        deployment_id: of all models of the service, for the outputs.

    Raises:
        ConfigError: the routing does not match the model's labels, the calibration does not match
            the model, or an output is larger than its topic accepts.
    """
    if isinstance(model, Settings):
        [model] = all_deployments(model)
    settings, stage = model.settings, model.stage
    policy = policy_for(classifier, settings, calibration)
    share = settings.routing.audit_share
    if share:
        policy = replace(policy, audit=AuditSample(share, name=model.id, key=settings.audit.key))
    if stage is not None and stage.labels:
        policy = replace(policy, labels=_renamed(policy.labels, stage.labels, model.path))
    encoder = encoder_for(
        settings, classifier, policy, task=model.task, deployment_id=deployment_id
    )
    sizes = output_sizes(
        encoder, policy.labels, settings.output, is_calibrated=calibration is not None
    )
    refuse_too_large(sizes, policy.labels, limit_bytes)
    deployment = Deployment(model.id, classifier, policy, encoder, settings.output, model.task)
    if stage is None:
        return deployment
    return replace(
        deployment,
        stage=stage.name,
        deadline_s=stage.deadline_s,
        max_waiting_items=stage.max_waiting_items,
    )


def _renamed(labels: LabelSet, names: Mapping[str, str], path: str) -> LabelSet:
    """Return the labels of a stage under the names of the last stage.

    Raises:
        ConfigError: the model has no such label, or two labels would have the same name.
    """
    unknown = [name for name in names if name not in labels.names]
    if unknown:
        raise ConfigError(
            f"{path}.labels: {', '.join(unknown)}: unknown label; the labels of the model are"
            f" {labels.listed}"
        )
    renamed = tuple(names.get(name, name) for name in labels.names)
    if len(set(renamed)) < len(renamed):
        raise ConfigError(
            f"{path}.labels: two labels would have the same name ({', '.join(renamed)}); map each"
            " label to one of its own"
        )
    return replace(labels, names=renamed)
