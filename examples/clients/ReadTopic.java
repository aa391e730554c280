// Reads a topic of streamlabel with Kafka's own client and prints one line a record.
//
// Only what was committed is printed (read_committed): with exactly once that is each result once.
// With at least once a result may come twice, with the same id: keep the ids that you have seen, or
// write each result under its id.
//
//   java -cp "$KAFKA_HOME/libs/*" examples/clients/ReadTopic.java localhost:9092 labels my-group
//
// It ends at the end of the topic; leave out the check for a service.

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class ReadTopic {
  public static void main(String[] arguments) {
    Properties settings = new Properties();
    settings.putAll(
        Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0],
            ConsumerConfig.GROUP_ID_CONFIG, arguments[2],
            ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
            ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
            ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false",
            ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName(),
            ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName()));
    try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings)) {
      consumer.subscribe(List.of(arguments[1]));
      while (!isAtEnd(consumer)) {
        for (ConsumerRecord<String, String> each : consumer.poll(Duration.ofMillis(500))) {
          System.out.println(each.partition() + "\t" + each.offset() + "\t" + each.value());
        }
        // after the work on them: what is not committed comes again after a crash
        consumer.commitSync();
      }
    }
  }

  private static boolean isAtEnd(KafkaConsumer<String, String> consumer) {
    Set<TopicPartition> partitions = consumer.assignment();
    // of what is committed: a position also moves over what was taken back
    Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
    return !partitions.isEmpty()
        && partitions.stream().allMatch(each -> consumer.position(each) >= ends.get(each));
  }
}
