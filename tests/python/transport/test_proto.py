"""The definition of the protocol: generated code in step with it, numbers that never change."""

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from eccsnn.transport.proto import generate
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

# Field numbers are the wire format. A change of any line breaks devices in the field; new fields are added below.
FIELDS = {
    "InferRequest": {
        "edge_id": 1,
        "session": 2,
        "sequence": 3,
        "model_id": 4,
        "split_point": 5,
        "class_list_version": 6,
        "timestep": 7,
        "last": 8,
        "exit_threshold": 9,
        "brief": 10,
        "image": 16,
        "spikes": 17,
        "features": 18,
        "end": 19,
    },
    "ImagePayload": {"codec": 1, "data": 2, "channels": 3, "height": 4, "width": 5},
    "SpikePacket": {
        "codec": 1,
        "data": 2,
        "timesteps": 3,
        "channels": 4,
        "height": 5,
        "width": 6,
        "max_count": 7,
    },
    "FeaturePacket": {"codec": 1, "data": 2, "element_type": 3, "shape": 4, "scale": 5, "zero_point": 6},
    "EndSample": {},
    "InferResponse": {
        "session": 1,
        "sequence": 2,
        "timestep": 3,
        "last": 4,
        "exit": 5,
        "model_id": 6,
        "queue_ms": 7,
        "compute_ms": 8,
        "batch_size": 9,
        "answer": 16,
        "error": 17,
    },
    "Answer": {"logits": 1, "class_ids": 2, "class_list_version": 3, "class_id": 4, "confidence": 5},
    "ErrorDetail": {"code": 1, "message": 2, "retryable": 3},
    "GetInfoRequest": {},
    "ClassList": {"version": 1, "class_ids": 2, "class_names": 3},
    "GetInfoResponse": {
        "server": 1,
        "model_id": 2,
        "class_list": 3,
        "image_shape": 4,
        "image_codecs": 5,
        "split_points": 6,
        "max_timesteps": 7,
        "max_message_bytes": 8,
        "max_image_pixels": 9,
        "splits": 10,
        "stream_counts": 11,
    },
    "SplitInfo": {
        "split_point": 1,
        "channels": 2,
        "height": 3,
        "width": 4,
        "max_count": 5,
        "timesteps": 6,
        "codecs": 7,
        "exit_threshold": 8,
    },
    "StreamCounts": {
        "samples": 1,
        "packets": 2,
        "timesteps_computed": 3,
        "packets_dropped": 4,
        "samples_abandoned": 5,
    },
    "PushStatisticsRequest": {"edge_id": 1, "sequence": 2, "statistics": 3},
    "PushStatisticsResponse": {"sequence": 1, "version": 2, "error": 16},
    "FetchStatisticsRequest": {"edge_id": 1, "known_sha256": 2},
    "FetchStatisticsResponse": {"version": 1, "edges": 2, "sha256": 3, "statistics": 4, "error": 16},
}


def without_json_names(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    def clear(message: descriptor_pb2.DescriptorProto) -> None:
        for field in message.field:
            field.ClearField("json_name")
        for nested in message.nested_type:
            clear(nested)

    for message in file.message_type:
        clear(message)
    return file


def test_field_numbers_are_fixed() -> None:
    found = {
        name: {field.name: field.number for field in message.fields}
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
    }
    assert found == FIELDS


def test_enum_numbers_are_fixed() -> None:
    assert pb.ImageCodec.items()[1:] == [("IMAGE_CODEC_PNG", 1), ("IMAGE_CODEC_JPEG", 2), ("IMAGE_CODEC_RAW", 3)]
    names = (
        "UNSPECIFIED MALFORMED BAD_PAYLOAD UNSUPPORTED_PAYLOAD SHAPE_MISMATCH MODEL_MISMATCH CLASS_LIST_MISMATCH "
        "SEQUENCE_CONFLICT OVERLOADED DEADLINE_EXCEEDED SHUTTING_DOWN INTERNAL"
    )
    assert pb.ErrorCode.items() == [(f"ERROR_CODE_{name}", number) for number, name in enumerate(names.split())]


def test_service_offers_single_requests_and_streams() -> None:
    methods = pb.DESCRIPTOR.services_by_name["Cloud"].methods_by_name
    streams = {name: (method.client_streaming, method.server_streaming) for name, method in methods.items()}
    single = ("Infer", "GetInfo", "PushStatistics", "FetchStatistics")
    assert streams == {**dict.fromkeys(single, (False, False)), "InferStream": (True, True)}


def test_generated_code_is_in_step_with_the_definition(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is needed to compile the definition")
    out = tmp_path / "set.bin"
    generate.run_protoc(f"--descriptor_set_out={out}")
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    committed = descriptor_pb2.FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    assert len(compiled.file) == len(generate.proto_files()) == 1
    assert without_json_names(compiled.file[0]) == without_json_names(committed)


def test_stubs_name_every_message() -> None:
    stub = Path(pb.__file__).with_suffix(".pyi").read_text()
    assert set(re.findall(r"^class (\w+)\(_message.Message\)", stub, re.MULTILINE)) == set(FIELDS)


def test_protoc_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "proto_files", lambda: [generate.ROOT / "missing.proto"])
    with pytest.raises(RuntimeError, match="grpcio-tools"):
        generate.run_protoc("--descriptor_set_out=/dev/null")


def test_another_generator_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate.metadata, "version", lambda _: "1.0.0")
    monkeypatch.setattr(generate, "run_protoc", lambda *_: pytest.fail("must not generate"))
    assert generate.main([]) == 1
    assert generate.GRPCIO_TOOLS in capsys.readouterr().err
