"""How it is observed: timing, the stages of compilation, the compile log."""
