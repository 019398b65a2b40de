"""The commands of `infercast`, one file each."""
