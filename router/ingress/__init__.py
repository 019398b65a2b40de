"""The HTTP side: reading calls from headers first, the Open Inference Protocol, answers."""
