"""Alerts about the brokers: the only one is killed, which strikes everything on the stage."""

from testing.alerting.stage import Stage, all_fire, all_resolve
from testing.kafka_broker import LocalCluster

__all__ = ["brokers"]


def brokers(stage: Stage, cluster: LocalCluster) -> None:
    """Kill the broker under load, and start it again."""
    # Seldom enough that something is delivered and not committed when the broker is killed, often
    # enough that the failures are many.
    service = stage.service("brokers", delivery={"commit_interval_s": 2.0})
    # What is delivered after the membership has run out is tried again: what is delivered before
    # waits in the producer. So there is a service whose model is slow, with texts in flight.
    slow = stage.service(
        "deliveries",
        partitions=4,
        model={"backend": "fake", "batch_s": 8.0},
        batching={"max_batch_items": 10},
        worker={"batch_timeout_s": 60.0},
    )
    feeders = []
    for started, partitions in ((service, 2), (slow, 4)):
        started.start()
        feeders.append(stage.feeder(started, rate_s=20, partitions=partitions))
        feeders[-1].start()
    stage.wait(lambda: all(feeder.written > 200 for feeder in feeders), what="texts come")
    fault = "The only broker is killed under load."
    remedy = "The broker is started again."
    with (
        stage.alert("StreamlabelBrokersLost", service.job, fault=fault, remedy=remedy) as lost,
        stage.alert("StreamlabelDeliveriesFail", slow.job, fault=fault, remedy=remedy) as fail,
        stage.alert("StreamlabelCommitsFail", service.job, fault=fault, remedy=remedy) as commits,
    ):
        for each in (lost, fail, commits):
            each.now()
        cluster.kill()
        all_fire(lost, fail, commits, within_s=300)
        cluster.start_node()
        cluster.wait_ready()
        for each in (lost, fail, commits):
            each.now()
        all_resolve(lost, fail, commits, within_s=300)
    for feeder in feeders:
        feeder.stop()
    for started in (service, slow):
        started.leave()
