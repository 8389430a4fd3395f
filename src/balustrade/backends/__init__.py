"""What answers calls: each backend is a send, or wraps one."""
