"""A scoring run as a job in a process group of its own."""
