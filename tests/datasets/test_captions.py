import pytest

from videossl.datasets.captions import captions_of

NAMES = ("a/x.png", "b.png", "c/d/e.png")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("metadata.csv", 'file_name,text\na/x.png,"a cup, red"\n\n./b.png,a book\n'),
        ("metadata.csv", '\ufefffile_name,caption\r\na/x.png,"a cup, red"\r\nb.png, a book \r\n'),
        (
            "metadata.jsonl",
            '{"file_name": "a/x.png", "text": " ", "caption": "a cup, red"}\n{"file_name": "./b.png", "text": "a book"}\n\n',
        ),
    ],
)
def test_captions_are_read_as_hugging_face_writes_them(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8", newline="")
    assert captions_of(tmp_path, NAMES) == {"a/x.png": "a cup, red", "b.png": "a book"}


def test_a_caption_may_hold_any_sign_but_the_end_of_a_line(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b.png", "text": "one\u2028two"}\n', encoding="utf-8")
    assert captions_of(tmp_path, NAMES) == {"b.png": "one\u2028two"}


def test_tables_lie_in_any_folder_and_name_what_is_below_theirs(tmp_path):
    for place, name in (("a", "x.png"), ("c", "d/e.png")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "metadata.csv").write_text(f"file_name,text\n{name},in {place}\n")
    assert captions_of(tmp_path, NAMES) == {"a/x.png": "in a", "c/d/e.png": "in c"}
    assert captions_of(tmp_path, []) == {}


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("metadata.csv", "image,text\nx.png,a cup\n", "first line names .* but there are 'image', 'text'"),
        ("metadata.csv", "file_name;text\nx.png;a cup\n", "with commas between, but there are 'file_name;text'"),
        ("metadata.csv", "", "but there are none"),
        ("metadata.csv", "file_name,text\n", "has no captions: fill it, or take it away"),
        ("metadata.csv", "file_name,text\nx.png,\n", "line 2: each has"),
        ("metadata.csv", "file_name,text\nx.png,  \n", "line 2: each has"),
        ("metadata.csv", "file_name,text\nx.png,a\n./x.png,b\n", "line 3: x.png has a caption already"),
        ("metadata.csv", "file_name,text\nx.png,a cup, red\n", "line 2: has more parts than columns"),
        ("metadata.csv", 'file_name,text\nx.png,"a cup\ny.png,b\n', "is no CSV"),
        ("metadata.csv", "file_name,text\n../x.png,a\n", "line 2: ../x.png lies outside of the folder"),
        ("metadata.jsonl", '{"file_name": "/x.png", "text": "a"}', "line 1: /x.png lies outside"),
        ("metadata.jsonl", '{"file_name": "x.png", "text": "a"}\n{"file_na', "line 2: is no JSON"),
        ("metadata.jsonl", "[1]\n", r"line 1: each has .* but this is \[1\]"),
        ("metadata.jsonl", '{"file_name": 3, "text": "a"}', "line 1: each has"),
        ("metadata.jsonl", '{"file_name": "x.png", "text": ["a", "b"]}', "line 1: each has"),
    ],
)
def test_captions_that_cannot_be_read_are_told_by_their_line(tmp_path, file, text, why):
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=why):
        captions_of(tmp_path, NAMES)


def test_tables_of_another_encoding_and_two_of_a_folder_are_refused(tmp_path):
    (tmp_path / "metadata.csv").write_bytes("file_name,text\nx.png,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata.csv is no text in UTF-8 .*: write it anew"):
        captions_of(tmp_path, NAMES)
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"has metadata.csv and metadata.jsonl: take one of them away"):
        captions_of(tmp_path, NAMES)
