"""In: a reference that is due. Out: an observation of what its destination really has."""
