"""Tests for `streaming.images.isolated_decode`: the pixels of `decode`, and images that kill their process."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streaming.images.decode import DecodeSettings, UndecodableImage, decode
from streaming.images.isolated_decode import IsolatedDecoder
from streaming.outcomes import Reason
from support.lakes.small_lakes import GARBAGE, jpeg


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "#4080c0").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def test_result_equals_decode_and_process_is_reused() -> None:
    with IsolatedDecoder() as decoder:
        for content in (jpeg(1), png(7, 30), jpeg(2)):
            expected, found = (
                decoding(content, DecodeSettings()) for decoding in (decode, decoder.decode)
            )
            np.testing.assert_array_equal(found.pixels, expected.pixels)
            assert (found.width, found.height, found.format) == (
                expected.width,
                expected.height,
                expected.format,
            )
        with pytest.raises(UndecodableImage) as expected_error:
            decode(GARBAGE, DecodeSettings())
        with pytest.raises(UndecodableImage) as error:
            decoder.decode(GARBAGE, DecodeSettings())
        assert str(error.value) == str(expected_error.value)
        with pytest.raises(UndecodableImage, match="more than the limit of 100"):
            decoder.decode(png(20, 20), DecodeSettings(max_pixels=100))
        assert len(decoder._children) == 1


@pytest.mark.slow
def test_image_that_uses_too_much_cpu_time_kills_only_its_process() -> None:
    with IsolatedDecoder(max_cpu_seconds=0.05) as decoder:
        with pytest.raises(UndecodableImage, match=r"more than 0\.05 s of CPU time") as error:
            decoder.decode(png(5000, 5000), DecodeSettings())
        assert error.value.reason is Reason.CRASHED_WORKER
        assert decoder.decode(jpeg(), DecodeSettings()).width == 48


def test_close_ends_a_decoding_process_and_later_images_are_undecodable() -> None:
    decoder = IsolatedDecoder()
    decoder.decode(jpeg(), DecodeSettings())
    (child,) = decoder._children
    child._process.send_signal(signal.SIGSTOP)  # as if the image took forever
    with ThreadPoolExecutor(1) as pool:
        decoding = pool.submit(decoder.decode, jpeg(), DecodeSettings())
        with pytest.raises(TimeoutError):
            decoding.result(0.2)
        decoder.close()
        assert isinstance(decoding.exception(10), UndecodableImage)
    with pytest.raises(UndecodableImage):
        decoder.decode(jpeg(), DecodeSettings())


def test_program_without_main_guard_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(jpeg())
    # A module that is imported from the current directory would replace that of the standard library.
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    program = tmp_path / "below" / "program.py"
    program.parent.mkdir()
    program.write_text(
        "print('run')\n"
        "from pathlib import Path\n"
        "from streaming.images.decode import DecodeSettings\n"
        "from streaming.images.isolated_decode import IsolatedDecoder\n"
        "with IsolatedDecoder() as decoder:\n"
        "    print(decoder.decode(Path('picture.jpg').read_bytes(), DecodeSettings()).width)\n"
    )
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("run\n48\n", "")
