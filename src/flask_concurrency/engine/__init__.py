"""One request's journey, framework-free: the only place where the three questions meet."""
