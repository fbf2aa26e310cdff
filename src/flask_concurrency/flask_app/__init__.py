"""The Flask extension: configuration, decorators, hooks, responses, CORS."""
