"""Language models: tokens in, tokens out, many streams at once. Knows no HTTP and no API's words."""
