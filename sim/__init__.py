"""The what-if simulator: the same engine on a fleet of paper; scenarios, traffic, comparisons, reports."""
