"""One file per kind of benchmark."""
