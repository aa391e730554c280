"""Training, evaluation and calibration on labelled files: what the offline commands are made of."""
