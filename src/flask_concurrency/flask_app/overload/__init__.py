"""What an overloaded app does: who is let in before Flask sees a request, and who is told no."""
