"""How it keeps running: the compute engine and the live run."""
