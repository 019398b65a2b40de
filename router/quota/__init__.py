"""Limits and budgets on the way of a call: what an ingress has leased of them, set aside and settled in memory."""
