"""OpenAI's API as bytes: calls parsed, answers rendered, and a language model put behind it. Knows no HTTP."""
