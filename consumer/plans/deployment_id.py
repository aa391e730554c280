"""The id of what decides about records: equal models, prompts, thresholds and plan, equal id."""

import hashlib
import json
from collections.abc import Mapping

from streamlabel.config.settings import Settings
from streamlabel.models.core.classifier import Classifier

__all__ = ["deployment_id"]


def deployment_id(
    settings: Settings, classifiers: Mapping[str, Classifier], calibrations: Mapping[str, str]
) -> str:
    """Return the id of a deployment: 12 hexadecimal digits.

    Args:
        settings: models, routing, tasks and cascade; secrets do not count.
        classifiers: the loaded models, by the id of the deployment, for their digests.
        calibrations: ids of calibrations, by the id of the deployment.
    """
    sections = settings.model_dump(mode="json", include={"model", "routing", "cascade", "tasks"})
    digests = {name: each.identity.digest for name, each in classifiers.items()}
    content = json.dumps([sections, digests, dict(calibrations)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
