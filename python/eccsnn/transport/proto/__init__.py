"""The protocol's definition (`eccsnn/v1/cloud.proto`) and the code generated from it.

`generate.py` regenerates the code. Only messages are generated: client and server move raw bytes through gRPC and parse
them themselves (`eccsnn.transport.messages`), so that malformed bytes get a typed answer, a repeated answer is the same
bytes, and no generated file ties the package to one version of grpcio.
"""
