"""What the values of a file mean for a training: who wrote it, epoch, step, metrics, states that a resume finds."""
