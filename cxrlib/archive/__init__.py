"""List and fetch the objects of an archive through fsspec."""
