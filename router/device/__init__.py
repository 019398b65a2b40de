"""The device: an agent in its own process, without Ray, that decides before a byte leaves."""
