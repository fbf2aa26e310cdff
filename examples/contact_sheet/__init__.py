"""A contact sheet of pictures, made by worker processes. Holds no code: see ``app.py``."""
