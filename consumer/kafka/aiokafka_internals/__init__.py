"""All uses of private parts of aiokafka 0.14.0; the rest of the room calls the functions here.

What each part works around, and what could be fixed upstream so that it is no longer needed:

| module | missing in aiokafka 0.14.0 | what could be fixed upstream |
| --- | --- | --- |
| group | a consumer's client and coordinator | `AIOKafkaConsumer.client`, as the producer has |
| group | the answers to heartbeats | a callback, or the time of the last one that was answered |
| group | a heartbeat on demand | a public method |
| group | whether we are a member | a public attribute, empty outside the group |
| group | a rejoin without a change of the subscription | `enforceRebalance`, as Java has |
| group | the error of a whole OffsetFetch response | a bug: `committed` ignores it |
| group | a commit for partitions of others | `alterConsumerGroupOffsets`, as Java's admin has |
| group | a fetcher that has failed is not reported | a bug: `getmany` should raise |
| group | `getmany` of no partition, for its errors | a bug: no argument means all partitions |
| group | the sticky assignor's memory in its class | a bug: it should be the member's |
| connections | since when a response is overdue | a public view of connections |
| connections | a refused token counts as success | a bug in the exchange of OAUTHBEARER |
| batch_queues | how much one request may contain | a limit on the bytes of a request, not of a
batch |
| batch_queues | batches that wait for a leader expire | `delivery.timeout.ms`, as Java has |
| batch_queues | taking a batch back | cancelling its future |
| transactions | whether a transaction is open | a public property |
| transactions | denied transactions send their batches | a bug: it forgets unadded partitions |
| transactions | closing without sending queued batches | `close(timeout=0)`, as Java has |
| transactions | a new epoch of the same producer | InitProducerId 3 (KIP-360) |
| error_table | error codes above 72 | complete the table, and keep unknown numbers |

The room refuses other versions when it is imported, before these modules are imported.
Requests that aiokafka lacks are not here, because they use its public protocol classes: see
``topic_id``, ``rights_protocol`` and ``producer_epoch``.

After an upgrade, ``tests/unit/consumer/kafka/test_aiokafka_internals.py`` shows what has changed.
"""
