"""What is wrong with the set-up: named checks, each with finding, evidence and cure."""
