"""What jit does, stage by stage."""
