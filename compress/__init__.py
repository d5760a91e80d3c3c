"""The library of edgepress: networks in, networks out; it knows no command line and no edge format."""
