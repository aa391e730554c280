"""The classifier and router as a stage of Ray Data: for years of history, on a cluster.

A file is the unit: an actor classifies it as ``streamlabel classify`` does and gives the output its
name when it is complete. What has an output is not classified again, so that a run that was ended
is simply started again, without doubles.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from streamlabel.config.deployments import in_one_process, paths_of_models
from streamlabel.config.places import refuse_missing
from streamlabel.config.settings import Settings
from streamlabel.consumer.files.sink import FileSink
from streamlabel.consumer.files.text_files import format_of
from streamlabel.consumer.plans.opening import read_calibrations
from streamlabel.consumer.workers import Workers
from streamlabel.errors import ConfigError
from streamlabel.extras import require
from streamlabel.tools.files import open_input, open_rows
from streamlabel.tools.offline import classify_records, open_records

__all__ = ["ClassifyFiles", "FileResult", "classify_files"]


class FileResult(NamedTuple):
    """What became of one file.

    Attributes:
        file: path of the input.
        out: path of the output.
        labels: outputs with a label.
        review: outputs for review.
        dead_letter: rows that could not be classified.
        was_there: its output existed, and nothing was done; then the numbers are 0.
    """

    file: str
    out: str
    labels: int
    review: int
    dead_letter: int
    was_there: bool


def classify_files(
    settings: Settings,
    files: Iterable[str | Path],
    folder: str | Path,
    *,
    actors: int = 1,
    output: Literal["parquet", "jsonl"] = "parquet",
) -> list[FileResult]:
    """Classify files on a Ray cluster; blocks until all are done.

    Connect before (``ray.init``), or Ray starts on this machine. All nodes need the paths: of the
    files, of the folder and of the model.

    Args:
        settings: as for ``streamlabel classify``. ``model.dtype: auto`` is decided without texts.
        files: .parquet, .jsonl, .csv, .tsv or .txt, with different names.
        folder: exists; gets one output a file.
        actors: how many classify at the same time, each with a model of its own.
        output: format of the outputs.

    Raises:
        ConfigError: the settings do not fit the model, a file is missing, or two have one name.
        StreamlabelError: the model cannot be loaded, or gave up; ``files`` that are done stay.
    """
    require("streamlabel.ray", "ray", "pyarrow", extra="ray")
    import ray  # noqa: PLC0415 with an extra

    refuse_missing(paths_of_models(in_one_process(settings)))
    places = _places(files, Path(folder), output)
    rows = [{"file": str(file), "out": str(out)} for file, out in places]
    if not rows:
        return []
    found = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        ClassifyFiles,
        fn_constructor_args=(settings,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    by_file = {row["file"]: FileResult(**row) for row in found.take_all()}
    return [by_file[str(file)] for file, _ in places]


def _places(
    files: Iterable[str | Path], folder: Path, output: Literal["parquet", "jsonl"]
) -> list[tuple[Path, Path]]:
    """Return each file with its output.

    Raises:
        ConfigError: a file is of an unknown kind, two have one name, or there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no folder for the outputs; create it")
    paths = [Path(file).absolute() for file in files]
    for path in paths:
        format_of(path.name)
    for name, count in Counter(path.name for path in paths).items():
        if count > 1:
            raise ConfigError(f"{name}: {count} files have this name, and so one output; rename")
    return [(path, folder.absolute() / f"{path.name}.{output}") for path in paths]


class ClassifyFiles:
    """The stage: give it to ``map_batches`` of a dataset with the columns ``file`` and ``out``.

    Ray makes one in each actor; it loads the model once.

    Args:
        settings: as for ``classify_files``.

    Raises:
        StreamlabelError: the model cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = in_one_process(settings)
        # Ray sets uvloop's, which cannot give a worker process a group of its own.
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
        self._runner = asyncio.Runner()
        self._workers = Workers(self._settings, configure_worker=None)
        calibrations = read_calibrations(self._settings)
        self._runner.run(self._workers.load(calibrations))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Sequence[Any]]:
        """Classify the files of a batch; returns one ``FileResult`` a file, as columns."""
        found = [
            self._runner.run(self._classify(str(file), str(out)))
            for file, out in zip(batch["file"], batch["out"], strict=True)
        ]
        return {name: [getattr(each, name) for each in found] for name in FileResult._fields}

    async def _classify(self, file: str, out: str) -> FileResult:
        if await asyncio.to_thread(Path(out).exists):
            return FileResult(file, out, 0, 0, 0, was_there=True)
        with open_input(file) as stream, open_rows(out) as target:
            records, decoding = open_records(stream, format_of(file), self._settings)
            sink = FileSink(target, self._settings)
            await classify_records(
                records,
                sink,
                name=Path(file).name,
                classifiers=self._workers.classifiers,
                settings=decoding,
            )
        routes = sink.progress.routes
        labels, review, dead = routes["labels"], routes["review"], routes["dead_letter"]
        return FileResult(file, out, labels, review, dead, was_there=False)
