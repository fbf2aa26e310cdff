"""The words every room of the library uses. Imports nothing of ours."""
