"""Statistics of several edges in the cloud: added once, replaced, kept, and refused where they are wrong."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import CLASSES, FEATURES, MAX_COUNT, SOURCE, images_of, statistics_of

import eccsnn
from eccsnn.errors import CheckpointError
from eccsnn.incremental.statistics import CountStatistics
from eccsnn.services.merging import MergedStatistics, refuse_fetch, refuse_push
from eccsnn.transport.messages import RequestError
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb


def merged(path: Path, **options) -> MergedStatistics:
    settings = {"features": FEATURES, "max_count": MAX_COUNT, "source": SOURCE, "class_ids": CLASSES} | options
    return MergedStatistics(path / "merged.db", **settings)


A1 = statistics_of((images_of(10, 5), 10))
A2 = statistics_of((images_of(10, 9), 10), (images_of(12, 3), 12))
B = statistics_of((images_of(11, 4), 11))
BOTH = statistics_of((images_of(10, 9), 10), (images_of(12, 3), 12), (images_of(11, 4), 11))


def test_the_sum_is_that_of_all_samples_and_later_statistics_replace_earlier_ones(tmp_path: Path) -> None:
    store = merged(tmp_path)
    assert [store.push("a", 1, A1.to_bytes()), store.push("b", 7, B.to_bytes()), store.push("a", 3, A2.to_bytes())] == [
        1,
        2,
        3,
    ]
    assert store.push("a", 3, A2.to_bytes()) == 3  # a repeat changes nothing
    assert store.total().to_bytes() == BOTH.to_bytes()
    assert store.fetch("a") == (3, 1, B.to_bytes())
    assert store.fetch("b") == (3, 1, A2.to_bytes())
    assert store.fetch("c") == (3, 2, BOTH.to_bytes())
    store.close()
    again = merged(tmp_path)
    assert (again.version, again.edges) == (3, {"a": 3, "b": 7})
    assert again.total().to_bytes() == BOTH.to_bytes()
    assert again.push("a", 3, A2.to_bytes()) == 3
    assert again.push("a", 4, CountStatistics(FEATURES, MAX_COUNT, SOURCE).to_bytes()) == 4  # withdraws
    assert again.total().to_bytes() == B.to_bytes()
    again.close()


@pytest.mark.parametrize(
    ("edge", "sequence", "statistics", "code"),
    [
        ("a", 2, A2, "sequence_conflict"),
        ("a", 1, A1, "sequence_conflict"),
        ("c", 1, A1, "overloaded"),
        ("b", 2, CountStatistics(FEATURES + 1, MAX_COUNT, SOURCE), "shape_mismatch"),
        ("b", 2, CountStatistics(FEATURES, MAX_COUNT + 1, SOURCE), "shape_mismatch"),
        ("b", 2, CountStatistics(FEATURES, MAX_COUNT, "other"), "bad_payload"),
        ("b", 2, statistics_of((images_of(10, 21), 10)), "bad_payload"),
        ("b", 2, statistics_of((images_of(10, 2), 99)), "class_list_mismatch"),
    ],
)
def test_wrong_statistics_are_refused_and_change_nothing(tmp_path: Path, edge, sequence, statistics, code) -> None:
    store = merged(tmp_path, max_edges=2, max_samples=20)
    store.push("a", 2, A1.to_bytes())
    store.push("b", 1, B.to_bytes())
    with pytest.raises(RequestError) as refused:
        store.push(edge, sequence, statistics.to_bytes())
    assert refused.value.code_name == code
    assert (store.version, store.edges) == (2, {"a": 2, "b": 1})
    assert store.total() == statistics_of((images_of(10, 5), 10), (images_of(11, 4), 11))
    store.close()


def test_pushes_that_would_add_up_to_no_state_are_refused(tmp_path: Path) -> None:
    """Each is below its own largest square sum, their sum would be above that of the sum."""
    store = merged(tmp_path, features=2)
    for class_id, square in ((10, (16, 0)), (11, (0, 16))):
        data = b"ECSTATE\0" + struct.pack("<IIQQQ", 1, 4, 2, MAX_COUNT, 1) + hashlib.sha256(SOURCE.encode()).digest()
        data += struct.pack("<qqqq", class_id, 4, *(value // 4 for value in square))
        data += struct.pack("<iii", square[0], 16, square[1])
        with pytest.raises(RequestError, match="a second moment of 16 of features 0 and 1") as refused:
            store.push(f"edge {class_id}", 1, data + struct.pack("<I", zlib.crc32(data)))
        assert refused.value.code_name == "bad_payload"
    assert store.edges == {}
    assert CountStatistics.from_bytes(store.fetch("other")[2], SOURCE) == store.total()
    store.close()


@pytest.mark.slow
def test_kills_lose_no_push_that_was_answered(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(eccsnn.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).parents[1] / "incremental" / "kill_writer.py"
    done = subprocess.run(
        [sys.executable, script, "pushes", tmp_path / "merged.db", "25", "1"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pushes"] > 25


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"edge_id": "", "sequence": 1, "statistics": b"x"}, pb.ERROR_CODE_MALFORMED),
        ({"edge_id": "e" * 129, "sequence": 1, "statistics": b"x"}, pb.ERROR_CODE_MALFORMED),
        ({"edge_id": "a", "statistics": b"x"}, pb.ERROR_CODE_MALFORMED),
        ({"edge_id": "a", "sequence": 2**63, "statistics": b"x"}, pb.ERROR_CODE_MALFORMED),
        ({"edge_id": "a", "sequence": 1}, pb.ERROR_CODE_BAD_PAYLOAD),
        ({"edge_id": "a", "sequence": 1, "statistics": b"x" * 5001}, pb.ERROR_CODE_BAD_PAYLOAD),
        ({"edge_id": "a", "sequence": 1, "statistics": A1.to_bytes()[:-1]}, pb.ERROR_CODE_BAD_PAYLOAD),
    ],
)
def test_pushes_that_make_no_sense_get_a_typed_answer(tmp_path: Path, request_, code) -> None:
    store = merged(tmp_path, max_push_bytes=5000)
    answer = pb.PushStatisticsResponse.FromString(
        store.answer_push(pb.PushStatisticsRequest(**request_).SerializeToString())
    )
    assert answer.error.code == code
    assert (answer.sequence, answer.version, store.version) == (0, 0, 0)
    store.close()


@given(st.data())
def test_hostile_bytes_change_nothing(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = merged(tmp_path_factory.mktemp("hostile"))
    good = pb.PushStatisticsRequest(edge_id="a", sequence=1, statistics=A1.to_bytes()).SerializeToString()
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    hostile = data.draw(st.sampled_from((bytes(changed), good[:at], good[at:])) | st.binary(max_size=200))
    if pb.PushStatisticsResponse.FromString(store.answer_push(hostile)).HasField("error"):
        assert (store.version, store.edges) == (0, {})
    else:  # another name or number, or no change to what is read: but these statistics
        assert store.total().to_bytes() == A1.to_bytes()
    assert pb.FetchStatisticsResponse.FromString(store.answer_fetch(hostile)).IsInitialized()
    store.close()


def test_known_statistics_are_not_sent_again(tmp_path: Path) -> None:
    store = merged(tmp_path)
    store.push("a", 1, A1.to_bytes())

    def fetch(known: bytes) -> pb.FetchStatisticsResponse:
        request = pb.FetchStatisticsRequest(edge_id="b", known_sha256=known)
        return pb.FetchStatisticsResponse.FromString(store.answer_fetch(request.SerializeToString()))

    first = fetch(b"")
    assert first.statistics == A1.to_bytes()
    assert (fetch(first.sha256).statistics, fetch(first.sha256).sha256) == (b"", first.sha256)
    assert fetch(b"\0" * 32).statistics == A1.to_bytes()
    assert fetch(b"short").error.code == pb.ERROR_CODE_MALFORMED
    store.close()


def test_a_store_that_cannot_write_says_so_without_its_paths(tmp_path: Path) -> None:
    store = merged(tmp_path, max_bytes=6 * 4096)
    for edge in "abcdefghijklmnop":
        request = pb.PushStatisticsRequest(edge_id=edge * 100, sequence=1, statistics=A2.to_bytes())
        answer = pb.PushStatisticsResponse.FromString(store.answer_push(request.SerializeToString()))
        if answer.HasField("error"):
            break
    assert answer.error.code == pb.ERROR_CODE_INTERNAL
    assert str(tmp_path) not in answer.error.message
    held = store.edges
    store.close()
    again = merged(tmp_path, max_bytes=1 << 20)
    assert again.edges == held  # nothing that was acknowledged is gone
    again.close()


def test_files_of_other_features_are_refused(tmp_path: Path) -> None:
    store = merged(tmp_path)
    store.push("a", 1, A1.to_bytes())
    store.close()
    with pytest.raises(CheckpointError, match="another trunk"):
        merged(tmp_path, source="other")
    with pytest.raises(CheckpointError, match="the statistics of 'a'"):
        merged(tmp_path, features=FEATURES + 1)
    with pytest.raises(ValueError, match="max_edges"):
        merged(tmp_path, max_edges=0)


def test_a_cloud_that_does_not_merge_says_how_to(tmp_path: Path) -> None:
    for answer in (
        pb.PushStatisticsResponse.FromString(refuse_push(b"")),
        pb.FetchStatisticsResponse.FromString(refuse_fetch(b"")),
    ):
        assert answer.error.code == pb.ERROR_CODE_UNSUPPORTED_PAYLOAD
        assert "--merge" in answer.error.message
