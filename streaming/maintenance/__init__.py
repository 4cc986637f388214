"""Operations on a lake, and the request queue that carries them."""
