"""Makes the moving picture of the README from the real app: `python tests/moving_picture.py`."""

import argparse
from io import BytesIO
from pathlib import Path

import harness as h
from PIL import Image

PICTURE = Path(__file__).parents[1] / ".images" / "training.gif"
SCREEN = {"width": 1360, "height": 765}
FRAMES = 40
EVERY_MS = 250
COLOURS = 96
MAX_BYTES = 3_000_000


def frames(page_path: str) -> list[Image.Image]:
    """What a visitor sees who opens a lesson and presses Run, at equal intervals."""
    with h.serve() as server, h.chromium() as browser:
        page = browser.new_page(viewport=SCREEN)
        h.open_page(page, f"{server.url}/{page_path}")
        page.locator(".live .chart:not(.empty) canvas").first.wait_for()
        shots = [page.screenshot()]
        h.press(page, "Run")
        h.wait_for_stat(page, "Step", r"[1-9]")
        page.mouse.move(0, 0)
        for _ in range(FRAMES):
            shots.append(page.screenshot())
            page.wait_for_timeout(EVERY_MS)
    return [Image.open(BytesIO(shot)).convert("RGB") for shot in shots]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--page",
        default="training?data=spiral&depth=3&width=32&learning_rate=0.003&batch_size=64&training_pace=100",
        help="the lesson and its settings",
    )
    taken = frames(parser.parse_args().page)
    palette = taken[-1].quantize(COLOURS)  # one for all: what stands still takes no bytes
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in taken]
    first.save(
        PICTURE, save_all=True, append_images=others, duration=[1200] + [EVERY_MS] * len(others), loop=0, optimize=True
    )
    size = PICTURE.stat().st_size
    print(f"{PICTURE}: {size:,} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"The picture has {size:,} bytes, more than {MAX_BYTES:,}; lower FRAMES or COLOURS.")


if __name__ == "__main__":
    main()
