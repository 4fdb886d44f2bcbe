"""What the pages stand on. Imports point one way: routines <- measure <- live <- ui <- pages."""
