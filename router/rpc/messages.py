"""The protocol's messages, as classes made from the compiled .proto file.

They live in a pool of their own: a process may hold a client's copy of the same names beside ours, and one pool takes
a name once. Made at run time rather than by protoc, they work with every protobuf that grpcio does.
"""

import base64
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from .wire import FILE

SERVICE = "inference.GRPCInferenceService"
_pool = descriptor_pool.DescriptorPool()
_pool.Add(descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(FILE)))


def message(name: str) -> Any:
    """Return the class of a message of the package `inference`."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))


ServerLiveResponse = message("ServerLiveResponse")
ServerReadyResponse = message("ServerReadyResponse")
ServerMetadataResponse = message("ServerMetadataResponse")
ModelReadyRequest = message("ModelReadyRequest")
ModelReadyResponse = message("ModelReadyResponse")
ModelMetadataRequest = message("ModelMetadataRequest")
ModelMetadataResponse = message("ModelMetadataResponse")
ModelInferRequest = message("ModelInferRequest")
ModelInferResponse = message("ModelInferResponse")
ModelStreamInferResponse = message("ModelStreamInferResponse")
