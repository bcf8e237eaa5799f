"""The version of the package, which is that of the library it carries."""

VERSION = "0.1.0"
