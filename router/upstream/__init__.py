"""Sites that are somebody else's endpoint, reached over HTTP."""
