"""The home page: a map of the lessons, and the machine."""
