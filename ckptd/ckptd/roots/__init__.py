"""The watched directories: which, what each is, and what people should know of it."""
