"""Run one scoring run as a job: in a child process, in a process group of its own."""
