"""A transaction that the broker has completed without a marker is found in its files."""

import json

from testing.chaos.owed_markers import Batch, Debt, batches, owed


def state(producer: int, status: int, *partitions: str) -> str:
    """Return a line of the coordinator's log, as Kafka's program prints it."""
    topics = [{"topic": each[:-2], "partitionIds": [int(each[-1])]} for each in partitions]
    data = {"producerId": producer, "transactionStatus": status, "transactionPartitions": topics}
    return 'key: {"type":"0"} payload: ' + json.dumps({"version": "1", "data": data})


def written(partition: str, producer: int, *ends: str) -> list[str]:
    lines = [f"Dumping /data/{partition}/00000000000000000000.log"]
    for end in ends:
        lines.append(f"baseOffset: 2 producerId: {producer} producerEpoch: 0 isControl: true size")
        lines.append(f"| offset: 2 endTxnMarker: {end} coordinatorEpoch: 0")
    return lines


def test_each_partition_of_an_ended_transaction_has_its_marker_or_is_named() -> None:
    log = [
        state(4, 1, "labels-2", "review-2"),  # open: nothing is due
        state(4, 2, "labels-2", "review-2"),
        state(4, 4),
        state(4, 3, "labels-2"),
        "Dumping /data/__transaction_state-0/00000000000000000000.log",
    ]
    labels = written("labels-2", 4, "COMMIT", "ABORT")
    assert owed(log, [*labels, *written("review-2", 4, "COMMIT")]) == []
    assert owed(log, [*labels, *written("review-2", 4, "ABORT")]) == [
        Debt("review-2", producer=4, end="COMMIT", ended=1, markers=0)
    ]
    assert owed(log, [*labels, *written("review-2", 5, "COMMIT")]) != []


def test_a_marker_that_is_written_twice_is_no_debt() -> None:
    assert owed([state(1, 2, "labels-0")], written("labels-0", 1, "COMMIT", "COMMIT")) == []


def test_who_wrote_a_record_is_read_from_the_same_dump() -> None:
    """Lines as Kafka 4.3.1 prints them."""
    lines = [
        "Dumping /data/labels-2/00000000000000000000.log",
        "baseOffset: 124 lastOffset: 128 count: 5 baseSequence: 0 lastSequence: 4 producerId: 2"
        " producerEpoch: 0 partitionLeaderEpoch: 0 isTransactional: true isControl: false size: 9",
        "| offset: 124 CreateTime: 1 keySize: -1 valueSize: 1 sequence: 0 payload: x",
        "baseOffset: 129 lastOffset: 129 count: 1 producerId: 2 producerEpoch: 0 isControl: true",
    ]
    assert batches(lines) == [Batch("labels-2", 124, 128, 2)]
