"""Answers that are kept where a call enters, and given again where the policy in force still lets them: see docs/cache.md."""
