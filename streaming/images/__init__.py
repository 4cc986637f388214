"""One image: prefetching read, decode, resize, colour conversion, per-image resource limits."""
