"""The table of alerts: what did not fire is counted and said."""

from benchmarks.alerts import as_row, figures_of, page_of
from testing.alerting.stage import Attempt

NAMES = ["StreamlabelStuck", "StreamlabelDrift", "StreamlabelClock"]


def test_what_fired_and_what_was_resolved_is_counted_and_the_rest_said() -> None:
    attempts = [
        Attempt("StreamlabelStuck", "hangs", "waits", fired_s=301.6, resolved_s=45.2),
        Attempt("StreamlabelDrift", "long texts", "calibrated", fired_s=31.0, problem="late"),
    ]
    rows = {each.alert: as_row(each) for each in attempts}
    assert figures_of(rows, names=NAMES) == {
        "alerts": 3,
        "alerts_fired": 2,
        "alerts_resolved": 1,
        "alerts_not_caused": 1,
    }
    when = {"measured": "2026-11-30", "commit": "0123456789abcdef"}
    page = page_of({name: {**row, **when} for name, row in rows.items()}, names=NAMES)
    stuck, drift, clock = page.splitlines()[-3:]
    assert stuck.startswith("| StreamlabelStuck | 60 | hangs | 302 s | waits | 45 s | 2026-11-30,")
    assert "| 31 s | calibrated | **no** |" in drift
    assert clock == "| StreamlabelClock | | not caused yet | | | | |"
