"""How does a stream of events run and end?"""
