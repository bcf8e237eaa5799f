"""The names of other implementations, each leading to this library's operators."""
