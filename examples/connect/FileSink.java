// A sink of Kafka Connect that appends each record to a file, one JSON document a line.
//
// It is here to show, and to test, what a Connect worker needs for topics of streamlabel; for a
// database or an object store take a sink that somebody maintains, with the same settings of the
// worker. docs/connect.md is the recipe.

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

public class FileSink extends SinkConnector {
  private Map<String, String> settings;

  @Override
  public void start(Map<String, String> given) {
    settings = given;
  }

  @Override
  public Class<? extends Task> taskClass() {
    return Writing.class;
  }

  @Override
  public List<Map<String, String>> taskConfigs(int most) {
    return List.of(settings); // one task: one writer of the file
  }

  @Override
  public void stop() {}

  @Override
  public ConfigDef config() {
    return new ConfigDef()
        .define("file", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, "Appended to.");
  }

  @Override
  public String version() {
    return "1";
  }

  public static class Writing extends SinkTask {
    private final JsonConverter json = new JsonConverter();
    private Path file;

    @Override
    public void start(Map<String, String> settings) {
      file = Path.of(settings.get("file"));
      json.configure(Map.of("schemas.enable", "false"), false);
    }

    // Connect commits offsets after this has returned: a record may come again after a crash
    @Override
    public void put(Collection<SinkRecord> records) {
      List<String> lines = new ArrayList<>();
      for (SinkRecord each : records) {
        byte[] value = json.fromConnectData(each.topic(), each.valueSchema(), each.value());
        lines.add(value == null ? "null" : new String(value, StandardCharsets.UTF_8));
      }
      try {
        Files.write(file, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
      } catch (IOException error) {
        throw new RetriableException(error); // the same records are given again
      }
    }

    @Override
    public void stop() {
      json.close();
    }

    @Override
    public String version() {
      return "1";
    }
  }
}
