"""How large buffers cross between processes: in shared memory, without a copy."""
