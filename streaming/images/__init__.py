"""One image: prefetching read, decode, resize, color conversion, per-image resource limits."""
