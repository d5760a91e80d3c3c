"""Documents for people: the terminal, and the files they are kept in."""
