"""Serve a WSGI application natively on ASGI: awaiting where it can, on threads where it cannot."""
