"""Neurons, surrogates, heads and helpers over time. State is explicit: it goes in and comes out."""

from eccsnn.nn.ann_bottleneck import ANN_BOTTLENECKS, ANNBottleneck, BottleNet, BottleNetPP, JPEGCodec
from eccsnn.nn.bottleneck import Bottleneck, SpikeBottleneck
from eccsnn.nn.heads import ExitHead, TaskHeads
from eccsnn.nn.monitor import FiringRates, firing_rates
from eccsnn.nn.neurons import IF, LIF, NEURON_KEYS, PLIF, complete_neuron_config
from eccsnn.nn.rate_model import ContextSet, SpikeRateModel
from eccsnn.nn.spike_layers import SpikeConv2d, SpikeLinear, SpikeMaxPool2d
from eccsnn.nn.state import State, state_from_tensors, state_to_tensors
from eccsnn.nn.surrogates import ATan, Rect, Sigmoid, Surrogate, make_surrogate
from eccsnn.nn.time import over_time

__all__ = [
    "ANN_BOTTLENECKS",
    "IF",
    "LIF",
    "NEURON_KEYS",
    "PLIF",
    "ANNBottleneck",
    "ATan",
    "BottleNet",
    "BottleNetPP",
    "Bottleneck",
    "ContextSet",
    "ExitHead",
    "FiringRates",
    "JPEGCodec",
    "Rect",
    "Sigmoid",
    "SpikeBottleneck",
    "SpikeConv2d",
    "SpikeLinear",
    "SpikeMaxPool2d",
    "SpikeRateModel",
    "State",
    "Surrogate",
    "TaskHeads",
    "complete_neuron_config",
    "firing_rates",
    "make_surrogate",
    "over_time",
    "state_from_tensors",
    "state_to_tensors",
]
