"""Mirrors the protobuf package `eccsnn`."""
