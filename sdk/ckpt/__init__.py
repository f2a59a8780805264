"""ckpt: know every training checkpoint, keep the right ones, never lose one."""
