"""Moves bytes and nothing else: image codecs, messages of `eccsnn.v1`, TLS files, a link shaper that counts bytes."""
