#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Packs the text files of a directory first-fit into rows of tokens, a byte a token, and writes the
segment ids of one row as a .npy file for segments("...npy", pad=0): 1, 2, ... for the documents in
the order they were put there, 0 for padding."""

import argparse
import array
import pathlib
import struct
import sys


def document_lengths(directory, row_length):
    """Bytes of each regular file, by name; longer ones are cut into rows, as training would."""
    files = sorted(f for f in directory.rglob("*") if f.is_file() and not f.is_symlink())
    for file in files:
        size = file.stat().st_size
        while size > 0:
            yield min(size, row_length)
            size -= row_length


def pack_first_fit(lengths, row_length):
    """Each document goes to the first row with room for it."""
    rows, room = [], []
    for length in lengths:
        index = next((i for i, free in enumerate(room) if length <= free), len(rows))
        if index == len(rows):
            rows.append([])
            room.append(row_length)
        rows[index].append(length)
        room[index] -= length
    return rows


def write_npy(path, values):
    """int32 values as a .npy file, format 1.0."""
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({len(values)},), }}"
    header = header.ljust(128 - 10 - 1) + "\n"  # The data starts at a multiple of 64 bytes.
    data = array.array("i", values)
    if sys.byteorder == "big":
        data.byteswap()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                     data.tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=pathlib.Path, help="text files, at any depth")
    parser.add_argument("output", type=pathlib.Path, help="the .npy file to write")
    parser.add_argument("--length", type=int, default=16384, help="tokens in a row (default 16384)")
    parser.add_argument("--row", type=int, help="which row (default: the one with most documents)")
    arguments = parser.parse_args()
    if arguments.length < 1:
        parser.error(f"expected --length of at least 1, got {arguments.length}")

    lengths = list(document_lengths(arguments.directory, arguments.length))
    rows = pack_first_fit(lengths, arguments.length)
    if not rows:
        parser.error(f"expected text files in {arguments.directory}, got none")
    index = arguments.row
    if index is None:
        index = max(range(len(rows)), key=lambda i: len(rows[i]))
    if not 0 <= index < len(rows):
        parser.error(f"expected --row in 0..{len(rows) - 1}, got {index}")

    row = rows[index]
    ids = [number for number, length in enumerate(row, start=1) for _ in range(length)]
    write_npy(arguments.output, ids + [0] * (arguments.length - len(ids)))
    print(f"{len(lengths)} documents in {len(rows)} rows; row {index} holds {len(row)} of lengths "
          f"{row} and {arguments.length - len(ids)} of padding")


if __name__ == "__main__":
    main()
