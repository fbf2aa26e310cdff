"""What an app declares on views, blueprints and blocks, and what of it is in force."""
