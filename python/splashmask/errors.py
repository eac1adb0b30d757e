# SPDX-License-Identifier: Apache-2.0
"""Errors: one class, and the few that are also what JAX raises in the same place."""

from ._core import Error


class UnsupportedError(Error, NotImplementedError):
    """Where JAX raises NotImplementedError."""

    code = "Unsupported"


class ArgumentTypeError(Error, TypeError):
    """Where JAX raises TypeError."""

    code = "InvalidArgument"


def invalid(message: str) -> Error:
    """An Error of the kind InvalidArgument."""
    error = Error(message)
    error.code = "InvalidArgument"
    return error
