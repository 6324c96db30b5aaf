"""Two processes: started, measured, killed."""

import socket
import sys
import tempfile

import numpy as np
import pytest

from eccsnn.errors import CloudUnavailableError, ConfigError
from eccsnn.services.edge import EdgeResult, run_edge
from eccsnn.services.loopback import CloudProcess, factory_command, load_factory, measure_link
from eccsnn.transport.shaping import LinkShape


def edge_options() -> dict:
    return {
        "edge_predict": lambda batch: np.zeros((len(batch), 2), dtype=np.float32),
        "measure": lambda logits: np.ones(len(logits)),
        "threshold": 0.5,
        "class_ids": (20, 21),
        "timeout_s": 30.0,
    }


def test_a_link_between_two_processes_is_measured(image, child_env) -> None:
    done = measure_link(
        [image(v) for v in range(6)],
        cloud=factory_command("cloud_factories:first_pixel", offset=1),
        env=child_env,
        labels=[11, 12, 13, 10, 11, 12],
        shape=LinkShape(rtt_ms=1),
        **edge_options(),
    )
    assert done.link["uploaded"] == 6
    assert done.link["accuracy"] == 1.0
    assert done.link["wire_bytes_up"] > done.link["payload_bytes_up"]
    assert done.link["shape"].startswith("RTT 1 ms")


def test_a_cloud_that_is_killed_in_mid_run_leaves_the_rest_to_the_edge(image, child_env) -> None:
    process = CloudProcess(factory_command("cloud_factories:first_pixel"), env=child_env)
    bound = process.start()

    def kill_after_the_second(index: int, _result: EdgeResult) -> None:
        if index == 1:
            process.kill()

    try:
        done = run_edge(
            [image(v) for v in range(6)],
            host=bound.host,
            port=bound.port,
            on_result=kill_after_the_second,
            **edge_options(),
        )
    finally:
        process.stop()
    assert [r.source for r in done.results] == ["cloud"] * 2 + ["edge_fallback"] * 4
    assert [r.label for r in done.results] == [10, 11, 20, 20, 20, 20]
    assert done.link["fallback_reasons"] == {"unavailable": 3, "circuit_open": 1}


def test_the_child_ends_when_its_parent_is_gone(child_env) -> None:
    process = CloudProcess(factory_command("cloud_factories:first_pixel"), env=child_env)
    bound = process.start()
    try:
        process.close_stdin()
        assert process.wait(30.0) == 0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((bound.host, bound.port))
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (factory_command("cloud_factories:broken"), "exit status 1"),
        (factory_command("cloud_factories:nothing_here"), "exit status 1"),
        (factory_command("no_such_module:f"), "exit status 1"),
        ([sys.executable, "-c", "pass"], "exit status 0"),
        ([sys.executable, "-c", "print('eccsnn-cloud-ready {')"], "does not parse"),
    ],
)
def test_a_cloud_that_does_not_start_is_told(child_env, command, reason) -> None:
    with (
        tempfile.TemporaryFile() as errors,
        pytest.raises(CloudUnavailableError, match=reason),
        CloudProcess(command, env=child_env, stderr=errors),
    ):
        pass


def test_a_command_that_does_not_exist_is_told() -> None:
    with pytest.raises(CloudUnavailableError, match="no-such-program"):
        CloudProcess(["no-such-program-here"]).start()


def test_a_silent_cloud_is_given_up(child_env) -> None:
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        pytest.raises(CloudUnavailableError, match=r"within 0\.2 s"),
        CloudProcess(waits, start_timeout_s=0.2),
    ):
        pass


@pytest.mark.parametrize(
    ("factory", "arguments", "text"),
    [
        ("json", "{}", "module:function"),
        ("json:missing", "{}", "missing"),
        ("no_such_module:f", "{}", "no_such_module"),
        ("json:dumps", "{", "JSON object"),
        ("json:dumps", "[]", "JSON object"),
        ("json:dumps", '{"obj": 1}', "returned str"),
    ],
)
def test_factories_are_checked(factory, arguments, text) -> None:
    with pytest.raises(ConfigError, match=text):
        load_factory(factory, arguments)
