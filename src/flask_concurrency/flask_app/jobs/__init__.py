"""Jobs of an app: how they are declared, submitted, followed over HTTP, and run by a worker."""
