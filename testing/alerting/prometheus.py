"""A real Prometheus with the alerts as they are shipped, whose durations are scaled."""

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from urllib.request import urlopen

import yaml

from testing import alerts
from testing.kafka_broker import wait_until

__all__ = [
    "DAYS",
    "MINUTES",
    "Prometheus",
    "PrometheusMissingError",
    "divisor",
    "free_port",
    "scaled",
]

# By what durations are divided: a minute of the rules is a second.
MINUTES: Final = 60
# Of rules that look back for six hours or more.
DAYS: Final = 600
_LONG_S: Final = 6 * 3600
# Of rules that count what the service itself does every 5 to 10 s, which nothing makes faster.
RETRIES: Final = 10
_COUNT_RETRIES: Final = frozenset({"StreamlabelCommitsFail", "StreamlabelDeliveriesFail"})

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = r"\d+[smhd]"
# In a query: of a window, of the step of a subquery, of an offset.
_IN_QUERY: Final = re.compile(
    rf"(?<=\[){_DURATION}(?=[\]:])|(?<=:){_DURATION}(?=\])|(?<=offset ){_DURATION}"
)

# Of a machine that is busy: a scrape that is late makes all series of its target absent.
_SCRAPE_S: Final = 2


class PrometheusMissingError(Exception):
    """There is no program ``prometheus`` here."""


def seconds(duration: str) -> int:
    """Return a duration of the rules in seconds: 5m is 300."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


def _durations(rule: Mapping[str, Any]) -> list[str]:
    return [*_IN_QUERY.findall(rule["expr"]), rule.get("for", "0s")]


def divisor(rule: Mapping[str, Any]) -> int:
    """Return by what the durations of a rule are divided."""
    if rule["alert"] in _COUNT_RETRIES:
        return RETRIES
    return DAYS if max(map(seconds, _durations(rule))) >= _LONG_S else MINUTES


def scaled(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule whose windows, offsets and ``for`` are divided; thresholds stay."""
    by = divisor(rule)

    def shorter(duration: str) -> str:
        return f"{max(1, seconds(duration) * 1000 // by)}ms"

    found = {**rule, "expr": _IN_QUERY.sub(lambda match: shorter(match[0]), rule["expr"])}
    if "for" in rule:
        found["for"] = shorter(rule["for"])
    return found


def free_port() -> int:
    """Return a port of this machine on which nobody listens now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Prometheus:
    """The server, and what it scrapes.

    Attributes:
        url: of its HTTP API.
        folder: of its configuration and data.
    """

    url: str
    folder: Path
    _targets: dict[int, str] = field(default_factory=dict)  # port -> job
    _writing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator["Prometheus"]:
        """Start it with the scaled rules. Raises PrometheusMissingError."""
        program = shutil.which("prometheus")
        if program is None:
            raise PrometheusMissingError(
                "prometheus is not installed: apt-get install prometheus, or Prometheus' release"
            )
        rules = [scaled(rule) for rule in alerts.alerts().values()]
        port = free_port()
        here = cls(f"http://127.0.0.1:{port}", folder)
        (folder / "rules.yaml").write_text(
            yaml.safe_dump({"groups": [{"name": "scaled", "interval": "1s", "rules": rules}]})
        )
        here._write_targets()
        scrape = {
            "job_name": "streamlabel",
            "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
        }
        config = {
            "global": {"scrape_interval": f"{_SCRAPE_S}s", "scrape_timeout": f"{_SCRAPE_S}s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        with (folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    f"--query.lookback-delta={5 * _SCRAPE_S}s",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(here._answers, what="Prometheus answers", timeout_s=90)
            yield here
        finally:
            process.terminate()
            process.wait(60)

    def scrape(self, port: int, job: str) -> None:
        """Scrape /metrics on a port of this machine from now on."""
        with self._writing:
            self._targets[port] = job
            self._write_targets()

    def forget(self, port: int) -> None:
        """Scrape it no more, as when its pod is deleted."""
        with self._writing:
            self._targets.pop(port, None)
            self._write_targets()

    def firing(self, alert: str, job: str | None) -> bool:
        """Whether an alert fires, for a job or for none."""
        return any(
            each["state"] == "firing"
            and each["labels"]["alertname"] == alert
            and each["labels"].get("job") == job
            for each in self._get("/api/v1/alerts")["alerts"]
        )

    def value(self, query: str) -> float | None:
        """Return the value of a query with one series; None without one."""
        found = self._get(f"/api/v1/query?query={quote(query)}")["result"]
        return float(found[0]["value"][1]) if found else None

    def fired(self) -> dict[str, list[str]]:
        """Return every alert that has fired since the start, with its jobs."""
        query = 'last_over_time(ALERTS{alertstate="firing"}[1d])'
        found: dict[str, set[str]] = {}
        for each in self._get(f"/api/v1/query?query={quote(query)}")["result"]:
            found.setdefault(each["metric"]["alertname"], set()).add(each["metric"].get("job", ""))
        return {name: sorted(jobs) for name, jobs in sorted(found.items())}

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310 our own server
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str) -> Any:  # noqa: ANN401 as the API says
        with urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310 our own server
            return json.load(answer)["data"]

    def _write_targets(self) -> None:
        groups = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"job": job}}
            for port, job in self._targets.items()
        ]
        new = self.folder / "targets.new"
        new.write_text(json.dumps(groups))
        new.replace(self.folder / "targets.json")
