"""Turns core dumps on, proves it and undoes it: pycoredump-configure(8). One file per kind of file edited."""
