"""The Open Inference Protocol as gRPC messages: pure, no sockets."""
