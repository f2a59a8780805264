"""What is known of all runs: in memory for questions, on disk to start from, made anew when it is lost."""
