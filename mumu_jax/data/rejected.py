"""Files, and parts of files, that cannot be used: what is listed in `rejected.jsonl`."""

REASONS = (
    *("missing", "unreadable", "empty", "not_audio", "not_text", "truncated", "nan", "malformed", "crashed"),
    *("placeholder", "duplicate"),
)


class Rejected(Exception):
    """A file that gives nothing to learn from: `reason` is one of REASONS, `detail` says it to a person."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
