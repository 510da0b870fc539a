"""ogbg-molpcba: properties of molecules, by a graph network."""
