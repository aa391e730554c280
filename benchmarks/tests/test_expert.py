"""The expert's loop writes what the service writes, so that it is a limit and not another task."""

from types import SimpleNamespace

import orjson

from benchmarks.delivery import Drained, texts
from benchmarks.expert import LABELS, ratios
from benchmarks.expert_loop import answer, message
from streamlabel.config.model import FakeSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.router import routing_policy
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.fake import FakeClassifier


async def test_both_write_the_same_of_a_record() -> None:
    settings = Settings.model_validate({"model": {"backend": "fake", "labels": list(LABELS)}})
    assert isinstance(settings.model, FakeSettings)
    model = FakeClassifier(settings.model)
    encoder = MessageEncoder(labels=model.labels, model=model.identity)
    policy = routing_policy(model.labels, settings.routing)
    decoder = Decoder(settings.input)
    answers = [answer(index) for index in range(1021)]
    routes = set()
    for offset, value in enumerate(texts(200)):
        record = decoder.decode(
            SourceRecord(Position("texts", 1, offset), None, value, (), 1_764_000_000_000, 0.0)
        )
        [prediction] = await model.classify(
            [text for text in await model.prepare([record.text]) if isinstance(text, PreparedText)]
        )
        assert isinstance(prediction, Prediction)
        decision = policy.decide(prediction, record.id)
        timings = Timings(1_764_000_000_000, 23.412, 11.073)
        if decision.route == "label":
            ours = encoder.label(record, prediction, decision, timings, topic="out")
        else:
            ours = encoder.review(
                record, prediction, decision, timings, topic="out", limit_bytes=10_000
            )
        read = SimpleNamespace(
            value=value, topic="texts", partition=1, offset=offset, timestamp=1_764_000_000_000
        )
        is_sure, theirs = message(read, answers, "2025-11-24T16:00:00.000Z")
        theirs["model"] = {**theirs["model"], "digest": model.identity.digest}
        assert is_sure == (decision.route == "label")
        assert theirs == orjson.loads(ours.value or b"")
        assert len(orjson.dumps(theirs)) == len(ours.value or b"")
        routes.add(decision.route)
    assert routes == {"label", "review"}


def test_each_round_is_compared_with_its_own_expert() -> None:
    def runs(*rates: float) -> list[Drained]:
        return [Drained(rate, 700.0, (0, 0), 40.0) for rate in rates]

    assert ratios(runs(50, 90), runs(100, 100)) == [0.5, 0.9]
