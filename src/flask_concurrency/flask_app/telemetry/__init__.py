"""What an app counts of its requests, and where it shows that."""
