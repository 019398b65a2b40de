"""The compiled event loop.

`loop` says what comes next, `conduct` is a call's way, `servers` what happens at a site, `belief` what entries believe of the
others; `layout` has every table and column that they share.
"""
