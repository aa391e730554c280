"""Alerts about the brokers: the only one is killed, which strikes everything on the stage."""

from testing.alerting.stage import Stage, all_fire, all_resolve
from testing.kafka_broker import LocalCluster

__all__ = ["brokers"]


def brokers(stage: Stage, cluster: LocalCluster) -> None:
    """Kill the broker under load, and start it again."""
    service = stage.service("brokers")
    service.start()
    feeder = stage.feeder(service, rate_s=20)
    feeder.start()
    stage.wait(lambda: feeder.written > 100, what="texts come")
    fault = "The only broker is killed under load."
    remedy = "The broker is started again."
    with (
        stage.alert("StreamlabelBrokersLost", service.job, fault=fault, remedy=remedy) as lost,
        stage.alert("StreamlabelDeliveriesFail", service.job, fault=fault, remedy=remedy) as fail,
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
    feeder.stop()
    service.leave()
