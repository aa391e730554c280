"""An outcome that becomes part of a trace keeps all else."""

from dataclasses import fields, replace

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.output.outcome import Outcome


def test_only_the_trace_and_the_outputs_change() -> None:
    position = Position("texts", 1, 2)
    source = SourceRecord(position, b"k", b"{}", (), 3, 4.0)
    outbounds = (Outbound("labels", b"k", b"v", (), position),)
    whole = Outcome(source, (), "review", "low", "yes", 0.5, 6, "why", 7, "task", "stage", None)
    defaults = Outcome(source, (), "label")
    unlike = [
        f.name for f in fields(Outcome) if getattr(whole, f.name) == getattr(defaults, f.name)
    ]
    assert unlike == ["source", "outbounds", "trace_id"]  # so that nothing is equal by chance
    assert whole.traced("abc", outbounds) == replace(whole, trace_id="abc", outbounds=outbounds)
