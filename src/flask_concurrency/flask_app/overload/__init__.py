"""Decide, before Flask sees a request, whether an overloaded app admits or refuses it."""
