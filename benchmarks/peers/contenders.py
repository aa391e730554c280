"""The contenders: peers with an environment and a script, and our service in two precisions."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.kafka_to_kafka import Contender, service
from testing import minilm, texts
from testing.kafka_broker import Cluster

__all__ = ["CAREFUL", "FULL", "OURS", "PEERS", "Peer", "fitted_model", "our_contender"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_CACHE = _ROOT / ".cache" / "peers"
_APPEND_TIME: Mapping[str, Any] = {"message_timestamp_type": "LogAppendTime"}

FULL: Mapping[str, Any] = {"dtype": "float32"}
# The setting for processors that compute in bfloat16.
CAREFUL: Mapping[str, Any] = {"dtype": "auto"}
OURS: Mapping[str, Mapping[str, Any]] = {"streamlabel fp32": FULL, "streamlabel careful": CAREFUL}

# Rows for training: the mix uses the first 660 rows, so these are different ones.
_FIRST, _EXAMPLES = 1000, 1000
_MOST_TOKENS = 512  # that MiniLM reads


@dataclass(frozen=True, slots=True)
class Peer:
    """An alternative to the service.

    Attributes:
        name: of its script and of its requirements file, both here, unless it shares them.
        title: for tables and plots.
        kind: category of the comparison.
        shares: name of the script and requirements file that it shares with others.
        arguments: of the script, behind the usual ones.
        precision: in which it computes.
    """

    name: str
    title: str
    kind: Literal["framework", "server", "engine"]
    shares: str = ""
    arguments: tuple[str, ...] = ()
    precision: Literal["float32", "bfloat16", "int8"] = "float32"

    @property
    def pins(self) -> list[str]:
        """The packages of its requirements file, with versions."""
        lines = (_HERE / f"{self.shares or self.name}.txt").read_text().splitlines()
        return [line for line in lines if "==" in line and not line.startswith("#")]

    def prepare(self) -> Path:
        """Create its environment if it is missing or out of date; return the interpreter."""
        folder = _CACHE / (self.shares or self.name)
        python, made = folder / "bin" / "python", folder / "made-from.txt"
        wanted = "\n".join(self.pins)
        if not (made.exists() and made.read_text() == wanted):
            requirements = str(_HERE / f"{self.shares or self.name}.txt")
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            install = ["-m", "pip", "install", "--quiet", "-r", requirements]
            subprocess.run([str(python), *install], check=True)
            made.write_text(wanted)
        return python

    def contender(self, cluster: Cluster, model: Path) -> Contender:
        """Return it with separate topics."""
        source = cluster.topic(f"{self.name}-in", partitions=4)
        # Quix Streams copies the timestamps of inputs to outputs, so the broker sets append times.
        output = cluster.topic(f"{self.name}-out", partitions=4, **_APPEND_TIME)
        script = str(_HERE / f"{self.shares or self.name}.py")
        usual = (str(self.prepare()), script, cluster.bootstrap, source, output, str(model))
        command = ("env", f"PYTHONPATH={_ROOT}", *usual, *self.arguments)
        return Contender(self.title, command, source, (output,))


def _engine(
    engine: str, title: str, precision: Literal["float32", "bfloat16", "int8"] = "float32"
) -> "Peer":
    return Peer(
        f"{engine}_{precision}",
        title,
        "engine",
        shares="engine_loop",
        arguments=(engine, precision),
        precision=precision,
    )


# MLServer's Hugging Face runtime (1.7.1) is not among them: it needs optimum < 2, whose last
# version, 1.27.0, imports torch.onnx.symbolic_opset14._attention_scale, which torch 2.13.0 has not.
PEERS = (
    Peer("faststream_batch", "FastStream, batches of 32", "framework"),
    Peer("quix_apply", "Quix Streams, text by text", "framework"),
    Peer("confluent_loop", "confluent-kafka loop, batches of 32", "framework"),
    Peer("infinity_served", "Infinity behind aiokafka", "server"),
    _engine("onnxruntime", "ONNX Runtime in a tuned loop"),
    _engine("openvino", "OpenVINO in a tuned loop"),
    _engine("onnxruntime", "the same ONNX Runtime, int8", "int8"),
    _engine("openvino", "the same OpenVINO, bfloat16", "bfloat16"),
)


def our_contender(cluster: Cluster, folder: Path, title: str, model: Path) -> Contender:
    """Return our service in the precision of this title, on separate topics."""
    settings = {"model": {"backend": "encoder", "path": str(model), "device": "cpu", **OURS[title]}}
    made = service(cluster, folder, title.replace(" ", "-"), settings)
    for topic in made.output_topics:
        cluster.configure(topic, **_APPEND_TIME)  # as the peers' outputs
    return made


def fitted_model() -> Path:
    """Return MiniLM with a head fitted to the topics of news: realistic probabilities."""
    from streamlabel.models.core.labels import LabelSet
    from streamlabel.training.head import Example, FitSettings, fit_head

    # All contenders cut texts at the length with which a model is fitted: here they are the mix.
    folder = _CACHE / f"model-{_MOST_TOKENS}"
    if not folder.exists():
        rows = texts.read("ag_news", "train")[_FIRST : _FIRST + _EXAMPLES]
        names = tuple(sorted({row["label"] for row in rows}))
        fit_head(
            [Example(row["text"], row["label"]) for row in rows],
            LabelSet(names),
            encoder=minilm.save(_CACHE / "unfitted", names),
            folder=folder,
            settings=FitSettings(epochs=2, trained_layers=1, max_tokens=_MOST_TOKENS),
        )
    return folder
