"""The loop language and its printer, checker and interpreter."""
