"""Episodes side by side as an animation, a GIF or an MP4, drawn by Pillow."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from metarl_jax.core.errors import UserError
from metarl_jax.core.scenes import COLORS, Circle, Line, Rectangle, Scene, Shape
from metarl_jax.core.writing import replacing
from metarl_jax.viewer.episodes import Episode

PANEL_WIDTH, CAPTION_HEIGHT, GAP = 260, 22, 8
SMOOTHING = 2
"""Panels are drawn so many times as large, and scaled down."""


FRAMES_PER_SECOND = 15


def write_gif(frames: Iterator[Image.Image], path: Path) -> None:
    """Writes frames as an animated GIF."""
    first, *others = frames
    with replacing(path) as partial:
        first.save(
            partial,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=1000 // FRAMES_PER_SECOND,
            loop=0,
        )


def write_mp4(frames: Iterator[Image.Image], path: Path) -> None:
    """Writes frames as an MP4 (H.264), by the ffmpeg program that `imageio-ffmpeg` brings.

    Raises:
      UserError: if `imageio-ffmpeg` is not installed.
    """
    write_frames = _ffmpeg().write_frames
    first = next(frames)
    with replacing(path) as partial:
        video = write_frames(
            str(partial),
            first.size,
            fps=FRAMES_PER_SECOND,
            macro_block_size=2,
            output_params=["-f", "mp4", "-movflags", "+faststart"],
        )
        video.send(None)
        video.send(first.tobytes())
        for frame in frames:
            video.send(frame.tobytes())
        video.close()


WRITERS: dict[str, Callable[[Iterator[Image.Image], Path], None]] = {
    ".gif": write_gif,
    ".mp4": write_mp4,
}
"""How a file is written, by its ending."""


def check_writer(ending: str) -> None:
    """Raises `UserError` if what a file of this ending needs is not installed."""
    if ending == ".mp4":
        _ffmpeg()


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UserError(
            "an MP4 needs imageio-ffmpeg, which is not installed: pip install 'metarl_jax[video]', or choose a .gif"
        ) from error
    return imageio_ffmpeg


def draw_frames(tasks: Sequence[Sequence[Episode]], unit: str) -> Iterator[Image.Image]:
    """Draws the episodes of each task as a row of panels, one image per step.

    Args:
      tasks: the episodes of each task.
      unit: what a round is called.
    """
    length = max(len(episode.scene.frames) for episodes in tasks for episode in episodes)
    return (_frame(tasks, index, unit) for index in range(length))


def _frame(tasks: Sequence[Sequence[Episode]], index: int, unit: str) -> Image.Image:
    rows = [[_panel(episode, index, unit) for episode in episodes] for episodes in tasks]
    heights = [max(panel.height for panel in row) for row in rows]
    width = max(len(row) for row in rows) * (PANEL_WIDTH + GAP) + GAP
    height = sum(heights) + GAP * (len(rows) + 1)
    image = Image.new("RGB", (width, height + height % 2), "white")  # H.264 wants even sides
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            image.paste(panel, (GAP + column * (PANEL_WIDTH + GAP), top))
        top += height + GAP
    return image


def _panel(episode: Episode, index: int, unit: str) -> Image.Image:
    scene = episode.scene
    left, bottom, right, top = scene.bounds
    scale = SMOOTHING * PANEL_WIDTH / (right - left)
    size = SMOOTHING * PANEL_WIDTH, max(1, round(scale * (top - bottom)))
    drawing = Image.new("RGB", size, "white")
    frame = scene.frames[min(index, len(scene.frames) - 1)]
    for shape in [*scene.background, *frame]:
        _draw(ImageDraw.Draw(drawing), shape, scene, scale, size[1])
    small = drawing.resize((PANEL_WIDTH, max(1, size[1] // SMOOTHING)), Image.Resampling.LANCZOS)
    panel = Image.new("RGB", (PANEL_WIDTH, small.height + CAPTION_HEIGHT), "white")
    panel.paste(small, (0, CAPTION_HEIGHT))
    earned = sum(episode.rewards[: index + 1])
    caption = f"{episode.title(unit)}: {earned:.2f} of {episode.total:.2f}"
    ImageDraw.Draw(panel).text((2, 4), caption, fill="#20252c", font=ImageFont.load_default(13))
    return panel


def _draw(
    canvas: ImageDraw.ImageDraw, shape: Shape, scene: Scene, scale: float, height: int
) -> None:
    left, bottom, *_ = scene.bounds

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - left) * scale, height - (y - bottom) * scale

    fill = COLORS[shape.color]
    if isinstance(shape, Circle):
        (x, y), radius = at(shape.x, shape.y), max(1.0, shape.radius * scale)
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
    elif isinstance(shape, Rectangle):
        corners = at(shape.x, shape.y + shape.height), at(shape.x + shape.width, shape.y)
        canvas.rectangle(corners, fill)
    elif isinstance(shape, Line):
        points = [at(x, y) for x, y in shape.points]
        width = max(1, round(shape.width * scale))
        canvas.line(points, fill, width, "curve")
        for x, y in (points[0], points[-1]):
            r = width / 2
            canvas.ellipse((x - r, y - r, x + r, y + r), fill)
    else:
        font = ImageFont.load_default(max(8.0, shape.height * scale))
        canvas.text(at(shape.x, shape.y), shape.text, fill, font, "ls")
