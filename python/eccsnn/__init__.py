"""eccsnn: spiking neural networks between edge and cloud.

The parts, from the bottom up: `ops` (fused kernels), `nn` (neurons and layers with explicit state), `models`, `data`,
`costs`, `offload`, `transport`, `training`, `incremental`, `services`, `systems` (the published systems), `experiments`
and `report`. `eccsnn.load(run)` opens the model of a finished run.
"""

__version__ = "0.1.0"
