"""The what-if simulator, to come: the same engine on a fleet of paper, scenarios, traces, reports."""
