"""Errors that eccsnn raises on purpose. Each message says what was given, what was expected and how to fix it."""


class EccsnnError(Exception):
    """Base of every error that eccsnn raises on purpose; the command line prints it without a traceback."""


class BuildError(EccsnnError):
    """A compiled part is missing, was built for something else, or does not load."""


class ConfigError(EccsnnError):
    """A configuration is not valid: an unknown key, a wrong type, or values that contradict each other."""


class DataError(EccsnnError):
    """A data set is missing, empty, broken, or does not have the expected layout."""


class CheckpointError(EccsnnError):
    """A checkpoint or stage artefact is truncated, corrupt, or belongs to another model."""


class CloudUnavailableError(EccsnnError):
    """The cloud could not be reached, answered too late, or went away in the middle of a request."""


class MessageError(EccsnnError):
    """Bytes from outside (an encoded image, a packet, a message) are not what the protocol allows."""


class BenchmarkError(EccsnnError):
    """A benchmark would compare different things, cannot be measured, or its file is not valid."""


class SpikePacketError(MessageError):
    """Bytes from outside are no packet, tables or file of the spike codec, or not the next packet of their stream."""


class StorageError(EccsnnError):
    """A database on this machine is full, in use by another process, or cannot be read or written."""
