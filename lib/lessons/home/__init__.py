"""The home page: a finished run, a map of the lessons, and the machine."""
