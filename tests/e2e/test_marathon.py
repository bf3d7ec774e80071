"""What a long run measured outlives it, however it ended."""

from __future__ import annotations

import marathon


def test_what_is_measured_after_an_entry_that_was_cut_off_is_kept(tmp_path):
    record = marathon.Record(tmp_path / "runs" / "record.jsonl")
    record.add({"round": 1})
    with record.path.open("a") as file:
        file.write('{"round": ')
    record.add({"round": 2})
    record.add({"round": 3})
    assert record.read() == [{"round": 1}, {"round": 2}, {"round": 3}]
    assert record.path.read_text().count("\n") == 4
