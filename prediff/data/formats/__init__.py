"""The files that weather services deliver, one reader a format; `read_file` knows which."""
