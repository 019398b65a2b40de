"""A world laid out in the kernel's tables before the first call: `state` puts together what the others work out."""
