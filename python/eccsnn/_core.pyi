"""Compiled parts of eccsnn that are not tensor ops."""

from typing import TypedDict

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
