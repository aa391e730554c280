"""Decoders with schemas: each schema is fetched once, and unknown ones cost dead letters only."""

import asyncio
import json
import threading
import uuid
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, timestamp_pb2

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.decode.staged_decoder import StagedDecoder
from streamlabel.consumer.registry.opening import RegistryDecoder, open_decoder
from streamlabel.errors import ConfigError, DecodeError
from tests.doubles import ManualClock
from tests.registry_server import Answer, RegistryServer, schema
from tests.schema_values import AVRO, POST, PROTO, PROTO_BASE64, avro, framed, protobuf, record

TEXT = POST["text"]
GUID = uuid.UUID("0f4e9b3c-7b0a-4b3d-9a51-7a3cf2f8a001")


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """A registry with an Avro and a Protobuf schema."""
    with RegistryServer() as running:
        running.answers |= {
            "/schemas/ids/7": schema(AVRO),
            f"/schemas/guids/{GUID}": schema(AVRO),
            "/ids/globalIds/7": Answer(AVRO.encode()),
            "/schemas/ids/7?format=serialized": schema(PROTO_BASE64, "PROTOBUF"),
            "/schemas/ids/8": schema("{}", "JSON"),
        }
        yield running


def settings(server: RegistryServer, **values: Any) -> InputSettings:  # noqa: ANN401
    usual = {"format": "avro", "framing": "confluent", "registry": {"url": server.url}}
    return InputSettings.model_validate({**usual, **values})


async def decode(given: InputSettings, *records: SourceRecord) -> list[TextRecord | DecodeError]:
    """Return the outcome of each record."""
    decoder = open_decoder(given, ManualClock())
    await decoder.prefetch(records)
    return [outcome(decoder, each) for each in records]


def outcome(decoder: Any, each: SourceRecord) -> TextRecord | DecodeError:  # noqa: ANN401
    try:
        found: TextRecord = decoder.decode(each)
    except DecodeError as error:
        return error
    return found


async def text(given: InputSettings, one: SourceRecord) -> str:
    """Return the text of a record that has one."""
    [found] = await decode(given, one)
    assert isinstance(found, TextRecord), found
    assert found.source is one
    return found.text


async def test_avro_is_read_with_the_schema_of_its_id(server: RegistryServer) -> None:
    [found] = await decode(settings(server), record(framed(avro())))
    assert isinstance(found, TextRecord)
    assert (found.id, found.text) == ("post-1", TEXT)
    assert json.loads(found.metadata or b"") == {"user": 7, "raw": "AP8=", "price": "AQI="}


async def test_every_framing_finds_the_schema(server: RegistryServer) -> None:
    guid = b"\x01" + GUID.bytes
    assert await text(settings(server), record(guid + avro())) == TEXT
    in_header = settings(server, framing="confluent_header")
    for name in (guid, b"\x00\x00\x00\x00\x07"):
        assert await text(in_header, record(avro(), (("__value_schema_id", name),))) == TEXT
    apicurio = settings(server, framing="apicurio_header")
    header = ("apicurio.value.globalId", (7).to_bytes(8))
    assert await text(apicurio, record(avro(), (header,))) == TEXT


async def test_glue_reads_listed_schemas(tmp_path: Path) -> None:
    (tmp_path / "post.avsc").write_text(AVRO)
    given = InputSettings.model_validate(
        {
            "format": "avro",
            "framing": "glue",
            "schema_files": {str(GUID).upper(): tmp_path / "post.avsc"},
        }
    )
    plain, packed = b"\x03\x00" + GUID.bytes, b"\x03\x05" + GUID.bytes
    assert await text(given, record(plain + avro())) == TEXT
    assert await text(given, record(packed + zlib.compress(avro()))) == TEXT
    [unknown] = await decode(given, record(b"\x03\x00" + b"\x00" * 16 + avro()))
    assert isinstance(unknown, DecodeError)
    assert unknown.reason == "unknown_schema"


async def test_protobuf_is_read_with_the_message_that_the_indexes_name(
    server: RegistryServer,
) -> None:
    given = settings(server, format="protobuf")
    [found] = await decode(given, record(framed(b"\x02\x02" + protobuf())))
    assert isinstance(found, TextRecord)
    assert (found.id, found.text, found.metadata) == ("post-1", TEXT, b'{"user":"7"}')
    named = settings(server, format="protobuf", framing="confluent_header")
    header = ("__value_schema_id", framed(b"\x02\x02"))
    assert await text(named, record(protobuf(), (header,))) == TEXT
    first = settings(server, format="protobuf", text_path="body")
    assert await text(first, record(framed(b"\x00" + b"\x0a\x02hi"))) == "hi"


async def test_fields_may_have_the_names_of_methods(tmp_path: Path) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="odd.proto", syntax="proto3")
    post = file.message_type.add(name="Post")
    names = ["text", "DESCRIPTOR", "HasField", "ParseFromString", "ByteSize", "append", "keys"]
    for number, name in enumerate(names, start=1):
        post.field.add(name=name, number=number, type=kinds.TYPE_STRING, label=1)
    number = len(names) + 1
    inner = kinds.TYPE_MESSAGE
    post.field.add(name="metadata", number=number, type=inner, label=1, type_name=".Post")
    path = tmp_path / "odd.pb"
    path.write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    given = {"format": "protobuf", "schema_file": path}
    fields = b"".join(bytes([number << 3 | 2, 2]) + b"hi" for number in range(1, len(names) + 1))
    value = record(fields + bytes([len(names) + 1 << 3 | 2, len(fields)]) + fields)
    for name in names:
        read = InputSettings(**given, text_path=f"metadata.{name}", metadata_path=None)
        assert await text(read, value) == "hi", name
    [found] = await decode(InputSettings(**given), value)
    # the library itself cannot write such a message as JSON
    assert isinstance(found, TextRecord)
    assert (found.text, found.metadata_dropped) == ("hi", True)


async def test_imports_have_the_names_of_their_references(server: RegistryServer) -> None:
    """A registry names all of its files alike."""
    kinds = descriptor_pb2.FieldDescriptorProto
    author = descriptor_pb2.FileDescriptorProto(name="default", package="shop", syntax="proto3")
    author.message_type.add(name="Author").field.add(
        name="name", number=1, type=kinds.TYPE_STRING, label=1
    )
    post = descriptor_pb2.FileDescriptorProto(name="default", package="shop", syntax="proto3")
    post.dependency.append("shop/author.proto")
    message = post.message_type.add(name="Post")
    message.field.add(name="text", number=1, type=kinds.TYPE_STRING, label=1)
    inner = kinds.TYPE_MESSAGE
    message.field.add(name="metadata", number=2, type=inner, label=1, type_name=".shop.Author")
    needed = {"name": "shop/author.proto", "subject": "author", "version": 1}
    compiled = [b64encode(each.SerializeToString()).decode() for each in (post, author)]
    server.answers |= {
        "/schemas/ids/7?format=serialized": schema(compiled[0], "PROTOBUF", [needed]),
        "/subjects/author/versions/1?deleted=true&format=serialized": schema(
            compiled[1], "PROTOBUF"
        ),
    }
    value = record(framed(b"\x00" + b"\x0a\x02hi" + b"\x12\x04" + b"\x0a\x02me"))
    [found] = await decode(settings(server, format="protobuf"), value)
    assert isinstance(found, TextRecord), found
    assert (found.text, found.metadata) == ("hi", b'{"name":"me"}')


async def test_files_are_schemas_without_framing(tmp_path: Path) -> None:
    (tmp_path / "post.avsc").write_text(AVRO)
    plain = InputSettings(format="avro", schema_file=tmp_path / "post.avsc")
    assert await text(plain, record(avro())) == TEXT
    files = descriptor_pb2.FileDescriptorSet()
    files.file.add().ParseFromString(timestamp_pb2.DESCRIPTOR.serialized_pb)
    files.file.append(PROTO)
    (tmp_path / "post.pb").write_bytes(files.SerializeToString())
    given = InputSettings(
        format="protobuf", schema_file=tmp_path / "post.pb", message="example.Post"
    )
    assert await text(given, record(protobuf())) == TEXT


@pytest.mark.parametrize("content", [b"", b"no schema", b'{"type": "record"}'])
@pytest.mark.parametrize("name", ["avro", "protobuf"])
async def test_a_file_that_is_no_schema_stops_the_service(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "wrong").write_bytes(content)
    given = InputSettings.model_validate({"format": name, "schema_file": tmp_path / "wrong"})
    with pytest.raises(ConfigError, match=r"input\.schema_file: "):
        await open_decoder(given).prefetch(())


async def test_json_schema_needs_a_known_id(server: RegistryServer) -> None:
    given = settings(server, format="json_schema")
    value = b'{"text": "hello", "metadata": 1.10}'
    [good, other, bare] = await decode(
        given, record(framed(value, 8)), record(framed(value, 7)), record(value)
    )
    assert isinstance(good, TextRecord)
    assert (good.text, good.metadata) == ("hello", b"1.10")
    assert isinstance(other, DecodeError)
    assert other.reason == "unknown_schema"
    assert "AVRO" in other.message
    assert isinstance(bare, DecodeError)
    assert bare.reason == "schema"


async def test_each_schema_is_fetched_once(server: RegistryServer) -> None:
    decoder = open_decoder(settings(server), ManualClock())
    records = [record(framed(avro())) for _ in range(100)]
    for _ in range(3):
        await decoder.prefetch(records)
        assert all(decoder.decode(each).text == TEXT for each in records)
    assert server.requests == ["/schemas/ids/7"]


async def test_an_unknown_id_is_a_dead_letter_and_asked_for_again_later(
    server: RegistryServer,
) -> None:
    clock = ManualClock()
    decoder = open_decoder(settings(server), clock)
    one = record(framed(avro(), 99))
    for _ in range(3):
        await decoder.prefetch([one])
        found = outcome(decoder, one)
        assert isinstance(found, DecodeError)
        assert found.reason == "unknown_schema"
        assert found.message == "schema id 99: the registry does not know it"
    assert len(server.requests) == 1
    server.answers["/schemas/ids/99"] = schema(AVRO)
    await clock.advance(61)
    await decoder.prefetch([one])
    assert isinstance(outcome(decoder, one), TextRecord)


async def test_the_number_of_schemas_is_bounded(server: RegistryServer) -> None:
    given = settings(server, registry={"url": server.url, "max_schemas": 2})
    decoder = open_decoder(given, ManualClock())
    assert isinstance(decoder, RegistryDecoder)
    for start in range(0, 40, 8):
        records = [record(framed(avro(), start + i)) for i in range(8)]
        await decoder.prefetch(records)
        assert len(decoder.schemas) == 8  # those of the present records
    await decoder.prefetch([record(framed(avro(), 7))])
    assert len(decoder.schemas) == 2


@pytest.mark.parametrize(
    "wrong", ["", "{", "[]", '{"type": "record"}', '"nothing"', "[" * 5000, '{"type":"\\ud800"}']
)
async def test_a_schema_that_cannot_be_read_is_like_none(
    server: RegistryServer, wrong: str
) -> None:
    server.answers["/schemas/ids/7"] = schema(wrong)
    server.answers["/schemas/ids/7?format=serialized"] = schema(wrong, "PROTOBUF")
    for name in ("avro", "protobuf"):
        [found] = await decode(settings(server, format=name), record(framed(avro())))
        assert isinstance(found, DecodeError)
        if wrong != "[]":  # a union of nothing is a schema, of no value
            assert found.reason == "unknown_schema"


async def test_schemas_that_others_need_are_fetched_first(server: RegistryServer) -> None:
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "text", "type": "string"}]}
    outer = {"type": "record", "name": "Outer", "fields": [{"name": "post", "type": "Inner"}]}
    reference = {"name": "Inner", "subject": "inner", "version": 1}
    server.answers["/schemas/ids/7"] = schema(json.dumps(outer), references=[reference])
    server.answers["/subjects/inner/versions/1?deleted=true"] = schema(json.dumps(inner))
    given = settings(server, text_path="post.text")
    assert await text(given, record(framed(b"\x04hi"))) == "hi"


async def test_schemas_that_need_each_other_are_unknown(server: RegistryServer) -> None:
    reference = {"name": "a", "subject": "a", "version": 1}
    server.answers["/schemas/ids/7"] = schema(AVRO, references=[reference])
    server.answers["/subjects/a/versions/1?deleted=true"] = schema(AVRO, references=[reference])
    [found] = await decode(settings(server), record(framed(avro())))
    assert isinstance(found, DecodeError)
    assert found.reason == "unknown_schema"


async def test_a_fetch_that_is_cancelled_keeps_what_it_has(server: RegistryServer) -> None:
    hold = threading.Event()
    server.behave = lambda path: Answer(after=hold, status=0) if path.endswith("/99") else None
    decoder = open_decoder(settings(server), ManualClock())
    records = [record(framed(avro())), record(framed(avro(), 99))]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await decoder.prefetch(records)
    hold.set()
    server.behave = lambda _: None
    await decoder.prefetch(records)
    assert server.requests.count("/schemas/ids/7") == 1


def test_formats_without_schemas_have_no_registry_in_their_way() -> None:
    assert type(open_decoder(InputSettings())) is Decoder
    assert type(open_decoder(InputSettings(charset="utf-16"))) is StagedDecoder


async def test_values_of_confluents_own_serializer_are_read(server: RegistryServer) -> None:
    registry = SchemaRegistryClient.new_client({"url": "mock://formats"})
    serializer = AvroSerializer(registry, AVRO)
    value = serializer(POST, SerializationContext("texts", MessageField.VALUE))
    schema_id = int.from_bytes(value[1:5])
    known: Schema = registry.get_schema(schema_id)
    server.answers[f"/schemas/ids/{schema_id}"] = schema(str(known.schema_str))
    assert await text(settings(server), record(value)) == TEXT
