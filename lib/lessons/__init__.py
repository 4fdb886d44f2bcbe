"""One folder a lesson: what it computes, its mistakes, how it is measured, how it is shown."""
