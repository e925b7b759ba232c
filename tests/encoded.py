"""Songs in formats that libsndfile does not write, encoded by PyAV."""

from pathlib import Path

import av
import numpy as np

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
FORMATS = {"float32": "fltp", "int16": "s16p", "int32": "s32p"}


def encode(
    path: Path,
    y: np.ndarray,
    sr_hz: int,
    codec: str,
    container: str | None = None,
    film: bool = False,
    languages: int = 1,
    sample_format: str | None = None,
    **options: str,
) -> Path:
    """Write samples [n, channels]; of a `film` beside a video, of several `languages` each half as loud as the last."""
    with av.open(str(path), "w", format=container, options=options) as file:
        video = file.add_stream("mpeg4" if codec != "libopus" else "libvpx", rate=5) if film else None
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = [file.add_stream(codec, rate=sr_hz, layout=LAYOUTS[y.shape[1]]) for _ in range(languages)]
        for i, stream in enumerate(streams):
            if sample_format:
                stream.codec_context.format = sample_format
            if codec not in ("alac", "wavpack", "flac", "tta") and not codec.startswith("pcm"):
                stream.bit_rate = 128_000
            for frame in _frames(y if i == 0 else y / 2**i, sr_hz, stream):
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        if video:
            for i in range(5 * len(y) // sr_hz):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i, np.uint8), format="rgb24")
                file.mux(video.encode(picture))
            file.mux(video.encode(None))
    return path


def _frames(y: np.ndarray, sr_hz: int, stream: av.AudioStream) -> list[av.AudioFrame]:
    layout = LAYOUTS[y.shape[1]]
    whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(y.T), format=FORMATS[y.dtype.name], layout=layout)
    whole.sample_rate, whole.pts = sr_hz, 0
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format, layout, sr_hz, frame_size=size)
    return [*resampler.resample(whole), *resampler.resample(None)]
