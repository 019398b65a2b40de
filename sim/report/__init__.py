"""A run, or what changes between two, as one HTML file that needs nothing else: `page.report`."""
