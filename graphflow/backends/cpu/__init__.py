"""The CPU: loops to machine code, and the threads that run it."""
