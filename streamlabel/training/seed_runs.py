"""The folder beside the output with all that a training needs to go on, one folder for each seed.

``seed-17/`` has the state of a training that is not finished, and its model, if an epoch was the
best one so far; of a finished one ``result.json``, and the model if no other seed has a better one.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from streamlabel.errors import ConfigError
from streamlabel.models.files.model_folder import replaced
from streamlabel.training.fit_settings import EpochReport, FitReport
from streamlabel.training.several_seeds import best_seed
from streamlabel.training.state_files import read_json, write_json
from streamlabel.training.training_origin import seeded, versions_of
from streamlabel.training.training_state import TrainingState, differing

__all__ = ["SeedRuns", "folder_beside"]

_RESULT: Final = "result.json"


def folder_beside(out: Path) -> Path:
    """Return the folder for the states of the training of ``out``."""
    return out.with_name(f"{out.name}.training")


class SeedRuns:
    """The trainings of one model with its seeds.

    Args:
        out: folder of the model.
        origin: of the training (``training_origin``), with any seed.
        say: told what does not stop a training.
    """

    def __init__(
        self, out: Path, origin: Mapping[str, Any], *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._out = out
        self._origin = origin
        self._say = say
        self._versions = versions_of()
        self.folder = folder_beside(out)

    def state(self, seed: int) -> TrainingState:
        """Return the state of the training with a seed."""
        about = seeded(self._origin, seed)
        return TrainingState(self._at(seed), about, versions=self._versions, say=self._say)

    def model(self, seed: int) -> Path:
        """Return the folder for the model of a seed."""
        return self._at(seed) / "model"

    def finished(self, seed: int) -> FitReport | None:
        """Return the report of a training that is finished; None if it is not.

        Raises:
            ConfigError: its result is damaged, or that of another training.
        """
        path = self._at(seed) / _RESULT
        try:
            found = read_json(path)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path} is damaged ({error}); delete {path.parent} to train this seed again"
            ) from error
        if found is None:
            return None
        if names := differing(found["about"], seeded(self._origin, seed)):
            raise ConfigError(
                f"{path.parent} has the result of another training. What differs:"
                f" {'; '.join(names)}. Go on with what it was begun with, or delete {self.folder}"
                " to begin again"
            )
        report = found["report"]
        epochs = tuple(EpochReport(**epoch) for epoch in report["epochs"])
        return FitReport(**report | {"folder": self.model(seed), "epochs": epochs})

    def finish(self, seed: int, reports: Mapping[int, FitReport]) -> None:
        """Keep a result, and of all models the best one.

        Args:
            seed: whose training is finished.
            reports: of all finished seeds, with this one.
        """
        report = asdict(reports[seed]) | {"folder": ""}
        about = seeded(self._origin, seed)
        write_json(self._at(seed) / _RESULT, {"about": about, "report": report})
        self.state(seed).remove()
        best = best_seed(reports)
        for other in reports:
            if other != best:
                shutil.rmtree(self.model(other), ignore_errors=True)

    def publish(self, seed: int, complete: Callable[[Path], None]) -> None:
        """Put the model of a seed in place; it stays in its own folder, too.

        Args:
            seed: the best one.
            complete: adds files to the folder that it is given.

        Raises:
            ConfigError: the model is not there any more.
        """
        model = self.model(seed)
        if not model.is_dir():
            raise ConfigError(f"{model} is missing; delete {model.parent} to train this seed again")
        with replaced(self._out) as partial:
            shutil.copytree(model, partial, copy_function=_linked, dirs_exist_ok=True)
            complete(partial)

    def remove(self) -> None:
        """Delete all states: the model is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _at(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"


def _linked(source: str, target: str) -> object:
    """Make a hard link, which takes no space; where there are none, copy."""
    try:
        os.link(source, target)
    except OSError:
        return shutil.copyfile(source, target)
    return target
