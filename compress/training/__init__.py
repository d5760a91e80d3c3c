"""Training: the one loop, the plan it checks, the features it reads and the state it keeps."""
