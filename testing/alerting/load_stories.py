"""Alerts about load, latency and resources: services with models that are slow or need memory."""

import itertools
import resource
import time
from typing import Final

import psutil

from testing.alerting.stage import Service, Stage, all_fire, all_resolve, text_value, texts

__all__ = ["backlog", "device_memory", "memory_and_files", "review_share", "shadow", "stuck"]

_OLD_S: Final = 303.0  # more than the 300 s of StreamlabelBehind


def backlog(stage: Stage) -> None:
    """Start a service after five minutes in which texts came, slower than they come."""
    service = stage.service(
        "backlog",
        partitions=3,
        model={"batch_s": 0.5},  # 60 texts a second
        batching={"max_batch_items": 30, "max_in_flight_items": 200},
    )
    feeder = stage.feeder(service, rate_s=100, partitions=3)
    feeder.write(3000)
    time.sleep(_OLD_S)
    fault = "A service that stood still for 5 minutes comes back; one process is slower than input."
    remedy = "Two processes are added."
    with (
        stage.alert("StreamlabelBehind", service.job, fault=fault, remedy=remedy) as behind,
        stage.alert("StreamlabelLagGrows", service.job, fault=fault, remedy=remedy) as grows,
        stage.alert("StreamlabelSlow", service.job, fault=fault, remedy=remedy) as slow,
    ):
        service.start()
        feeder.start()
        for each in (behind, grows, slow):
            each.now()
        all_fire(behind, grows, slow, within_s=180)
        more = [stage.another(service) for _ in range(2)]
        for member in more:
            member.start(ready=False)
        for each in (behind, grows, slow):
            each.now()
        all_resolve(behind, grows, slow, within_s=300)
        for member in more:
            member.leave()
    feeder.stop()
    service.leave()


def stuck(stage: Stage) -> None:
    """Let one text hang in the model; nothing is scaled here: five real minutes."""
    service = stage.service(
        "stuck",
        model={"hang_on": "endless"},
        worker={"batch_timeout_s": 345.0},
    )
    service.start()
    feeder = stage.feeder(service, rate_s=2)
    feeder.start()
    with stage.alert(
        "StreamlabelStuck",
        service.job,
        fault="The model computes a text without end.",
        remedy="None: after worker.batch_timeout_s (345 s here) the worker is restarted.",
    ) as alert:
        alert.now()
        ordinary = map(text_value, texts())
        feeder.values = itertools.chain([text_value("endless")] * 2, ordinary)
        alert.fires(within_s=400)
        alert.resolves(within_s=200)
    feeder.stop()
    service.close()
    service.leave()


def shadow(stage: Stage) -> None:
    """Run a shadow model that is slower than its share of the texts."""
    topic = stage.kafka.topic("shadow")
    service = stage.service(
        "shadow",
        batching={"max_batch_items": 5},
        shadow={
            "model": {"backend": "fake", "batch_s": 1.0},
            "topic": topic,
            "max_waiting_items": 20,
        },
    )
    service.start()
    feeder = stage.feeder(service, rate_s=20)
    with stage.alert(
        "StreamlabelShadowDrops",
        service.job,
        fault="The shadow model can take 5 texts a second, and 20 come.",
        remedy="shadow.share is lowered to 0.1, and the service is restarted.",
    ) as alert:
        alert.now()
        feeder.start()
        alert.fires()
        service.settings["shadow"] = {**service.settings["shadow"], "share": 0.1}
        service.restart()
        alert.now()
        alert.resolves()
    feeder.stop()
    service.leave()


def review_share(stage: Stage) -> None:
    """Let texts come of which the model is not sure; before, it was sure of all."""
    service = stage.service("reviews")
    service.start()
    feeder = stage.feeder(service, rate_s=20)
    feeder.start()
    with stage.alert(
        "StreamlabelReviewShare",
        service.job,
        fault="After hours without a review the model is sure of two texts in three only.",
        remedy="The campaign of such texts is kept out by a rule upstream.",
    ) as alert:
        time.sleep(45)  # hours, and a day whose average is known
        alert.now()
        usual = map(text_value, texts())
        other = map(text_value, texts(sure=False))
        feeder.values = (next(other if n % 3 == 0 else usual) for n in itertools.count())
        alert.fires()
        feeder.values = map(text_value, texts())
        alert.resolves()
    feeder.stop()
    service.leave()


def device_memory(stage: Stage) -> None:
    """Let batches be larger than the memory of the device."""
    service = stage.service(
        "memory",
        model={"batch_s": 0.3, "oom_over_tokens": 1500},
        batching={"max_batch_tokens": 16_000},
    )
    service.start()
    feeder = stage.feeder(service, rate_s=5)
    feeder.start()
    with stage.alert(
        "StreamlabelDeviceMemory",
        service.job,
        fault="Larger batches than before, and memory for 1,500 tokens instead of 16,000.",
        remedy="batching.max_batch_tokens is set to what streamlabel_token_budget shows.",
    ) as alert:
        alert.now()
        feeder.values = map(text_value, texts(length=400))
        feeder.rate_s = 60
        alert.fires()
        shown = stage.prometheus.value(f'streamlabel_token_budget{{job="{service.job}"}}')
        assert shown is not None
        feeder.rate_s = 5
        service.settings["batching"] = {"max_batch_tokens": max(200, int(shown))}
        service.restart()
        alert.now()
        alert.resolves()
    feeder.stop()
    service.leave()


def memory_and_files(stage: Stage) -> None:
    """Let long texts wait in memory; then let open files reach their limit."""
    service = stage.service(
        "resources",
        model={"batch_s": 4.0},
        batching={"max_batch_items": 2},
    )
    service.start()
    feeder = stage.feeder(service, rate_s=1)
    feeder.start()
    with stage.alert(
        "StreamlabelMemoryGrows",
        service.job,
        fault="100 MB of long texts wait for a slow model.",
        remedy="batching.max_in_flight_bytes is lowered to 4 MiB, and the service is restarted.",
    ) as alert:
        time.sleep(45)  # hours with the memory that it usually needs
        feeder.rate_s = 0
        alert.now()
        feeder.values = map(text_value, texts(length=400_000))
        feeder.write(300)
        alert.fires()
        service.settings["batching"] = {"max_batch_items": 2, "max_in_flight_bytes": 4 << 20}
        service.process.kill()  # a drain would take longer than the alert
        service.restart()
        alert.now()
        alert.resolves()
    _open_files(stage, service)
    feeder.stop()
    service.leave()


def _open_files(stage: Stage, service: Service) -> None:
    service.ensure()
    with stage.alert(
        "StreamlabelOpenFiles",
        service.job,
        fault="The limit of open files is a tenth above what the service has open.",
        remedy="The limit is raised.",
    ) as alert:
        pid = service.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = psutil.Process(pid).num_fds()
        alert.now()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used * 10 // 9, before[1]))
        try:
            alert.fires()
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        alert.now()
        alert.resolves()
