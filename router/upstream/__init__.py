"""Upstreams: other people's services, and other clusters of ours, as places where calls run. Reached over HTTP only."""
