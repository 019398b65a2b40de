"""The what-if simulator: the same engine on a fleet of paper. Its first part is the issue after the policy engine."""
