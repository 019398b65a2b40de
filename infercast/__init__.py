"""Anycast for inference: one call goes in with a policy behind it; it runs on the device, at an edge site or in a cloud region."""

__version__ = "0.1.0"
