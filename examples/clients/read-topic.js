// Reads a topic of streamlabel with KafkaJS and prints one line a record.
//
// Only what was committed is printed: with exactly once that is each result once. With at least once a
// result may come twice, with the same id: keep the ids that you have seen, or write each result
// under its id.
//
//   npm ci --prefix examples/clients
//   node examples/clients/read-topic.js localhost:9092 labels my-group
//
// It ends when nothing has come for five seconds after the first answer; leave out the check for a
// service.

import kafkajs from "kafkajs";

const [brokers, topic, groupId] = process.argv.slice(2);
const QUIET_MS = 5000;

const kafka = new kafkajs.Kafka({
  clientId: "read-topic",
  brokers: brokers.split(","),
  logLevel: kafkajs.logLevel.ERROR,
});
// KafkaJS reads uncommitted records only if it is asked to; said here, because it is what counts
const consumer = kafka.consumer({ groupId, readUncommitted: false });
let last = null;
let failed = null;

consumer.on(consumer.events.CRASH, ({ payload }) => {
  failed = payload.error;
});
// the group, and the first answer, can take longer than that
consumer.on(consumer.events.FETCH, () => {
  last ??= Date.now();
});
await consumer.connect();
await consumer.subscribe({ topics: [topic], fromBeginning: true });
await consumer.run({
  // offsets are committed after the work on a record: what is not committed comes again after a crash
  eachMessage: async ({ partition, message }) => {
    // a withdrawn verdict is a record without a value; a number of 64 bits is a string
    const value = message.value === null ? "" : message.value.toString("utf8");
    console.log(`${partition}\t${message.offset}\t${value}`);
    last = Date.now();
  },
});
while (failed === null && (last === null || Date.now() - last < QUIET_MS)) {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
await consumer.disconnect();
if (failed !== null) {
  console.error(failed);
  process.exitCode = 1;
}
