"""The functions of other implementations, each leading to this library's operators (docs/coming-from.md)."""
