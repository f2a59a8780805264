"""Whether a training goes on as if it had not stopped: recorded with and without a kill, and compared.

plan.py            what one start of the training is to do, as a file that its process reads
recording.py       in the training: writes down each step, saves, stops and kills where the plan says
hashing.py         in the training: tensors and other states as digests by name
dataloaders.py     in the training: batches that torch's own DataLoader gives
recording_file.py  what was written down, and read back
comparing.py       two recordings: what differs first
choosing.py        where to save and where to kill
guidance.py        what a difference usually means, and what was not tried
verdict.py         what a self-test found
refusing.py        why one cannot say anything
commands.py        how the training is started
starting.py        one start of it, in bounded time, with nothing left behind
running.py         the whole test

Only what works in the training needs torch.
"""
