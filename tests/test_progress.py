"""How far a student is: counted from the checks, kept in a file, and never a reason for an exercise to fail."""

import json
import subprocess
import sys

import pytest

from lvlab.store.files import PROJECT
from lvlab.teach import checks
from lvlab.teach.checks import tally

COUNT = sum(name.startswith("exercise_") for name in dir(checks))


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("LVLAB_RUNS", str(tmp_path / "own" / "runs"))
    monkeypatch.setattr(tally, "_unwritten", {})
    return tmp_path / "own" / "progress.json"


def said(capsys):
    capsys.readouterr()
    checks.progress()
    return capsys.readouterr().out


def test_each_check_counts_and_the_last_verdict_holds(file, capsys):
    assert said(capsys) == f"0 of {COUNT} exercises right; next: 1.1\n" and not file.exists()
    checks.exercise_2_1(4640)
    checks.exercise_3_3(74.4, 0.22, 0.05)
    assert said(capsys).startswith(f"2 of {COUNT} ")
    with pytest.raises(checks.NotYet):
        checks.exercise_2_1(1)
    assert said(capsys).startswith(f"1 of {COUNT} ")
    assert json.loads(file.read_text()) == {"2.1": False, "3.3": True}


def test_the_next_exercise_is_the_first_that_is_not_right(file, capsys):
    file.parent.mkdir()
    names = [name[9:].replace("_", ".") for name in sorted(dir(checks)) if name.startswith("exercise_")]
    file.write_text(json.dumps({name: name != "2.3" for name in names} | {"9.9": True, "1.1": "yes"}))
    assert said(capsys) == f"{COUNT - 2} of {COUNT} exercises right; next: 1.1\n"
    file.write_text(json.dumps({name: True for name in names}))
    assert said(capsys) == f"{COUNT} of {COUNT} exercises right: all of them\n"


@pytest.mark.parametrize("content", [b"", b"{\"1.1\": tr", b"[1]", b"\xff\xfe", b"null"])
def test_a_damaged_file_is_named_and_the_count_goes_on(file, content, capsys, caplog):
    file.parent.mkdir()
    file.write_bytes(content)
    checks.exercise_2_1(4640)
    assert "progress.json" in caplog.text and "the count starts anew" in caplog.text
    assert said(capsys).startswith("1 of ")


def test_where_nothing_can_be_written_the_exercise_is_right_all_the_same(file, capsys):
    file.parent.write_text("a file where the folder should be")
    checks.exercise_2_1(4640)
    assert capsys.readouterr().out.startswith("Exercise 2.1: right")
    assert said(capsys).startswith("1 of ")


def test_two_notebooks_that_are_open_at_once_lose_no_verdict(file):
    code = "from lvlab.teach.checks import tally\nprint(flush=True)\nfor n in range(30): tally.keep(f'1.{n}', True)"
    other = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE)
    other.stdout.readline()
    for number in range(30):
        tally.keep(f"2.{number}", True)
    assert other.wait(60) == 0 and len(json.loads(file.read_text())) == 60


def test_doctor_estimates_both_trainings_and_never_fails(monkeypatch):
    from lvlab.commands import doctor

    monkeypatch.setattr(doctor, "_product_speed", lambda: 0.074)
    assert doctor._training_time().startswith("LAB about 2 min, ASSIGNMENT about 38.5 min")
    monkeypatch.setattr(doctor, "_product_speed", lambda: 1 / 0)
    assert doctor._training_time() == "unknown (ZeroDivisionError)"
