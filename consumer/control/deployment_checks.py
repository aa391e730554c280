"""What a deployment must fulfil before it takes the place of the present one."""

from collections.abc import Mapping

from streamlabel.config.settings import Settings
from streamlabel.consumer.control.messages import PLAN_SECTIONS
from streamlabel.errors import DeploymentRefusedError, InferenceError
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.core.probes import PROBES

__all__ = ["refusal", "refuse_failing", "refuse_other_changes", "refuse_other_digests"]


def refusal(error: Exception) -> DeploymentRefusedError:
    """Return why the deployment is refused."""
    if isinstance(error, DeploymentRefusedError):
        return error
    return DeploymentRefusedError(str(error))


def refuse_other_changes(now: Settings, wanted: Settings) -> None:
    """Refuse what a swap cannot change.

    Raises:
        DeploymentRefusedError: another section differs, or outputs would go to other topics.
    """
    changed = [
        name
        for name in type(now).model_fields
        if name not in PLAN_SECTIONS and getattr(now, name) != getattr(wanted, name)
    ]
    if changed:
        raise DeploymentRefusedError(
            f"{', '.join(changed)}: a swap changes only {', '.join(PLAN_SECTIONS)}; restart the"
            " service for the rest"
        )
    others = sorted(set(wanted.output_topics) - set(now.output_topics))
    if others:
        raise DeploymentRefusedError(
            f"{', '.join(others)}: a swap cannot add output topics; restart the service"
        )


def refuse_other_digests(classifiers: Mapping[str, Classifier], digests: Mapping[str, str]) -> None:
    """Refuse models that are not those that were meant.

    Args:
        classifiers: the loaded models, by the id of the deployment.
        digests: what their digests must begin with; ids that are missing may have any.

    Raises:
        DeploymentRefusedError: a digest differs, or is given for a model that there is not.
    """
    unknown = sorted(set(digests) - set(classifiers))
    if unknown:
        raise DeploymentRefusedError(
            f"a digest is given for {', '.join(unknown)}, which is no model of the deployment"
        )
    for name, digest in digests.items():
        found = classifiers[name].identity.digest
        if not found.startswith(digest):
            raise DeploymentRefusedError(
                f"{name}: the digest of the model is {found[:12]}, not {digest[:12]}: this machine"
                " has other weights, another tokenizer or other labels"
            )


async def refuse_failing(classifiers: Mapping[str, Classifier]) -> None:
    """Refuse a model that fails on fixed texts."""
    for name, classifier in classifiers.items():
        try:
            prepared = await classifier.prepare(PROBES)
            failed = [each for each in prepared if isinstance(each, InferenceError)]
            ready = [each for each in prepared if not isinstance(each, InferenceError)]
            answers = await classifier.classify(ready)
            failed += [each for each in answers if isinstance(each, InferenceError)]
        except InferenceError as error:
            failed = [error]
        if failed:
            raise DeploymentRefusedError(f"{name}: the model fails on a fixed text: {failed[0]}")
