"""The coastlines of the world, for maps without any call to a map's server."""
