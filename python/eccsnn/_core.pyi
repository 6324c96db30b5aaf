"""Compiled parts of eccsnn that are not tensor ops."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

class Isa(TypedDict):
    selected: str
    supported: str
    reason: str

class Build(TypedDict):
    version: str
    compiler: str
    build_type: str
    torch: str
    cuda: bool
    cuda_reason: str

def isa() -> Isa: ...
def build() -> Build: ...

CODEC_SOURCES_SHA256: str
SPIKE_CODEC_VERSION: int
SPIKE_STREAM_HEADER_BYTES: int
SPIKE_PACKET_HEADER_BYTES: int

class SpikePacketError(ValueError): ...

class SpikeTables:
    @staticmethod
    def flat(channels: int, height: int, width: int) -> SpikeTables: ...
    @staticmethod
    def parse(data: bytes) -> SpikeTables: ...
    @property
    def id(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...

class SpikeEncoder:
    def __init__(self, tables: SpikeTables) -> None: ...
    def encode(self, packed: NDArray[np.uint8]) -> list[bytes]: ...
    @property
    def timesteps(self) -> int: ...

class SpikeDecoder:
    def __init__(self, tables: SpikeTables) -> None: ...
    def decode(self, packets: list[bytes]) -> NDArray[np.uint8]: ...
    @property
    def timesteps(self) -> int: ...

def spike_stream_tables_id(packet: bytes) -> int: ...
def encode_bytes(features: NDArray[np.uint8]) -> bytes: ...
def decode_bytes(data: bytes, channels: int, height: int, width: int) -> NDArray[np.uint8]: ...
