"""Made-up samples of the public data sets: the real layouts with a few tracks, each with the traps of its format."""

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

SPLITS = ("train", "val", "test")
N = {"train": 6, "val": 3, "test": 3}
N_TRACKS = sum(N.values())


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_song(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(map(ord, path.name))).normal(0, 0.1, 22_050)
    soundfile.write(path, noise, 22_050)


def write_songs(folder: Path, names: Iterable[str]) -> None:
    """Write all songs but the last."""
    for name in list(names)[:-1]:
        write_song(folder / name)


def write_jamendo(root: Path) -> None:
    """Two subsets and two folds; lines end in CRLF, a tag is a cell, and some songs are of the low quality."""
    tags = {"genre": ("genre---rock", "genre---pop"), "top50tags": ("genre---rock", "mood/theme---happy")}
    header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
    for fold in (0, 1):
        for subset, (first, second) in tags.items():
            number = 241
            for split, part in zip(SPLITS, ("train", "validation", "test"), strict=True):
                lines = [header]
                for _ in range(N[split]):
                    both = f"{first}\t{second}" if number % 2 else second
                    path = f"{number % 100:02d}/{number}.mp3"
                    lines.append(f"track_{number:07d}\tartist_{number + fold:06d}\talbum_000033\t{path}\t340.1\t{both}")
                    number += 1
                name = f"data/splits/split-{fold}/autotagging_{subset}-{part}.tsv"
                write(root / name, "".join(line + "\r\n" for line in lines))
    write_songs(root, [f"{n % 100:02d}/{n}{'.low' * (n % 3 == 0)}.wav" for n in range(241, 241 + N_TRACKS)])


MTAT_FOLDERS = {"train": "0", "val": "c", "test": "f"}


def mtat_paths() -> list[tuple[int, str, str]]:
    """Return clip id, split and path of each clip."""
    splits = [split for split in SPLITS for _ in range(N[split])]
    return [
        (2 + i, split, f"{MTAT_FOLDERS[split]}/artist_{i}-album-01-song_{i}-0-29.mp3") for i, split in enumerate(splits)
    ]


def write_magnatagatune(root: Path) -> None:
    """A table of quoted cells separated by TAB; the last clip of train has no tag, and one clip is broken."""
    tags = ["guitar", "slow", "no voice"]
    rows = [
        [f"{clip}", *(("0" * 3) if clip == 7 else ("101", "010")[clip % 2]), path] for clip, _, path in mtat_paths()
    ]
    rows.append(["35644", *"111", "6/norine_braun-now_and_zen-08-gently-117-146.mp3"])
    lines = ["\t".join(f'"{cell}"' for cell in row) for row in (["clip_id", *tags, "mp3_path"], *rows)]
    write(root / "annotations_final.csv", "\n".join(lines) + "\n")
    for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True):
        listed = [f"{i}\t{path}" for i, (clip, part, path) in enumerate(mtat_paths()) if part == split and clip != 7]
        np.save(root / f"{name}.npy", np.array(listed))
    write_songs(root, [path.replace(".mp3", ".wav") for _, _, path in mtat_paths()])


def write_fma(root: Path) -> None:
    """Three header rows, a cell with line breaks, lists as literals, and a track without genres."""
    genres = ["genre_id,#tracks,parent,title,top_level", "12,9,0,Rock,12", '25,3,12,"Punk, etc.",12', "10,3,0,Pop,10"]
    write(root / "fma_metadata" / "genres.csv", "\n".join(genres) + "\n")
    columns = [("artist", "bio"), ("artist", "id"), ("set", "split"), ("set", "subset"), ("track", "genre_top")]
    columns += [("track", "genres_all"), ("track", "title")]
    lines = [",".join(("", *(group for group, _ in columns))), ",".join(("", *(name for _, name in columns)))]
    lines.append("track_id" + "," * len(columns))
    number = 2
    for split, part in zip(SPLITS, ("training", "validation", "test"), strict=True):
        for i in range(N[split]):
            literal = '"[25, 12]"' if number % 2 else "[10]"
            subset = ("small", "medium")[i % 2]
            lines.append(f'{number},"<p>Born\n""in""\r\nRio, 1970",{number},{part},{subset},,{literal},A title')
            number += 1
    lines.append(f"{number},,99,training,large,,[],No genres")
    write(root / "fma_metadata" / "tracks.csv", "\n".join(lines) + "\n")
    write_songs(root / "fma_medium", [f"000/{n:06d}.wav" for n in range(2, 2 + N_TRACKS)])


def write_gtzan(root: Path) -> None:
    """Lists of .wav names, and songs in .au."""
    names = [f"{genre}/{genre}.{i:05d}" for i, genre in enumerate(("blues", "rock") * (N_TRACKS // 2))]
    write_songs(root / "genres", [f"{name}.au" for name in names])
    for split, part in zip(SPLITS, ("train", "valid", "test"), strict=True):
        lines, names = names[: N[split]], names[N[split] :]
        write(root / f"{part}_filtered.txt", "".join(f"{name}.wav\n" for name in lines))


def write_music4all(root: Path) -> None:
    """Tables separated by TAB in spite of their names, quoted names, lyrics of two languages and a missing one."""
    ids = [f"0009fFIM1eYThaP{i}" for i in range(40)]
    genres = [f"{id_}\t{'pop,indie rock' if i % 2 else 'jazz'}" for i, id_ in enumerate(ids)]
    write(root / "id_genres.csv", "\n".join(["id\tgenres", *genres]) + "\n")
    rows = [f'{id_}\t"Artist {i // 2}"\t"A ""song"""\tAn album' for i, id_ in enumerate(ids)]
    write(root / "id_information.csv", "\n".join(["id\tartist\tsong\talbum_name", *rows]) + "\n")
    rows = [f"{id_}\t{'pt' if i % 5 == 0 else 'en'}" for i, id_ in enumerate(ids)]
    write(root / "id_lang.csv", "\n".join(["id\tlang", *rows]) + "\n")
    for i, id_ in enumerate(ids):
        write(root / "lyrics" / f"{id_}.txt", "" if i == 1 else f"la la {('blue', 'loud')[i % 2]} song {i}")
    write_songs(root / "audios", [f"{id_}.wav" for id_ in ids])


MSD_TAGS = [f"tag {i}" for i in range(50)]
MSD_IDS = [f"TRAAA{chr(65 + i)}128F0000000" for i in range(N_TRACKS)]


def msd_rows() -> np.ndarray:
    rows = np.zeros((N_TRACKS, 50), bool)
    rows[np.arange(N_TRACKS), np.arange(N_TRACKS) % 2] = True
    return rows


def write_msd_lastfm(root: Path) -> None:
    """Pickles and, in a folder beside them, text files and arrays; songs by the ids of 7digital."""
    write(root / "50tagList.txt", "\n".join(MSD_TAGS) + "\n")
    write(root / "filtered_list_train.cP", pickle.dumps(MSD_IDS[: N["train"] + N["val"]], protocol=0))
    write(root / "filtered_list_test.cP", pickle.dumps(MSD_IDS[-N["test"] :], protocol=0))
    vectors = {id_: row[:, None].astype(np.float64) for id_, row in zip(MSD_IDS, msd_rows(), strict=True)}
    written = pickle.dumps(vectors, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    write(root / "msd_id_to_tag_vector.cP", written)
    sevens = [f"36{i:06d}" for i in range(N_TRACKS)]
    write(root / "MSD_id_to_7D_id.pkl", pickle.dumps(dict(zip(MSD_IDS, sevens, strict=True)), protocol=0))
    write(root / "choi" / "tags.py", f"TAGS = {MSD_TAGS!r}\n\n")
    first = 0
    for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True):
        part = slice(first, first + N[split])
        write(root / "choi" / f"{name}_x_msd_id.txt", "".join(f"{id_}\n" for id_ in MSD_IDS[part]))
        write(root / "choi" / f"{name}_x_7d_id.txt", "".join(f"{id_}\n" for id_ in sevens[part]))
        np.save(root / "choi" / f"{name}_y.npy", msd_rows()[part])
        first += N[split]
    write_songs(root / "audio", [f"3/6/{id_}.clip.wav" for id_ in sevens])


def write_msdi(root: Path) -> None:
    """A row a track, two tracks an album; covers by track, of which one is missing."""
    lines = ["msd_track_id\tgenre\talbum_index\tset\timage_url\tmsd_artist_id"]
    for i, (id_, split) in enumerate(zip(MSD_IDS, [one for one in SPLITS for _ in range(N[one])], strict=True)):
        lines.append(f"{id_}\t{('Pop', 'Jazz')[i // 2 % 2]}\t{i // 2}\t{split}\thttp://example.org/{i}.jpg\tAR{i}")
    write(root / "MSD-I_dataset.tsv", "\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    (root / "covers").mkdir()
    for id_ in MSD_IDS[2::2]:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / "covers" / f"{id_}.png")
    write_songs(root / "audio", [f"A/A/A/{id_}.wav" for id_ in MSD_IDS])


SAMPLES: dict[str, Callable[[Path], None]] = {
    "jamendo": write_jamendo,
    "magnatagatune": write_magnatagatune,
    "fma": write_fma,
    "gtzan": write_gtzan,
    "music4all": write_music4all,
    "msd_lastfm": write_msd_lastfm,
    "msdi": write_msdi,
}
