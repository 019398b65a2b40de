"""What the system writes down of itself."""
