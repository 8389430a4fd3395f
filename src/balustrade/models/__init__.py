"""Models, one file each; they need the extra `torch`."""
