"""Source and destinations compared once: no daemon, no state."""
