"""Who looks at calls that have ended: metrics, traces and structured logs. Metadata and times only, never a payload."""
