"""`python -m training`: its mistakes in one line, and its exit codes."""

import re
import sys

import pytest
import typer

from training.__main__ import main
from training.plan import plan
from training.recipes import RECIPES, find
from zoo.cli.shell import run_script
from zoo.errors import ZooError


def test_only_the_first_of_several_processes_tells_a_mistake_that_all_meet(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(sys, "argv", ["training", "2c2f-mnist"])
    monkeypatch.setattr("zoo.cli.shell.time.sleep", lambda seconds: calls.append(capsys.readouterr().err))
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit):
            run_script(main, "python -m training")
    assert calls == ["error: say where to write: --output DIR\n"]  # of rank 0; rank 1 waited to be ended first


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ZooError, match=r"did you mean .*2c2f-mnist"):
        find("2c2f-mnits")
    with pytest.raises(ZooError, match=r"^no recipe is called 'nosuch': --list shows all recipes$"):
        find("nosuch")


def test_with_data_an_unknown_name_may_be_a_network():
    with pytest.raises(
        ZooError, match=r"^no recipe or network is called 'liresnet-l4w33': did you mean .*liresnet-l4w32[,?]"
    ):
        plan("liresnet-l4w33", data="pictures")
    with pytest.raises(ZooError, match=r"^no recipe is called 'liresnet-l4w33': did you mean liresnet-"):
        plan("liresnet-l4w33")


def test_the_list_breaks_no_word_at_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    main(list_recipes=True)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert {word for recipe in RECIPES.values() for word in recipe.loss.__name__.split("_")} <= set(shown.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("2c2f-mnist", "say where to write: --output DIR"),
        ("2c2f-mnist --bogus", "No such option: --bogus. See `python -m training --help`."),
        ("2c2f-mnist --epochs x", "Invalid value for '--epochs': .* See `python -m training --help`."),
        (
            "2c2f-mnist --output run --seed 4294967296",
            "a seed is a whole number from 0 to 4,294,967,295, got 4294967296",
        ),
        ("nosuch", "no recipe is called 'nosuch': --list shows all recipes"),
        ("liresnet-l4w33 --data x", "no recipe or network is called 'liresnet-l4w33': did you mean liresnet-l4w32, .*"),
        ("2c2f-mnist --output run --data nosuch", "nosuch is no folder: expected one with a subfolder for each class"),
        ("2c2f-mnist --output /proc/x --limit 100", "/proc/x: No such file or directory"),
    ],
)
def test_the_command_says_a_mistake_in_one_line_and_exits_2(arguments, message, write_split, monkeypatch, capsys):
    write_split("mnist", count=200)
    monkeypatch.setattr(sys, "argv", ["training", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        run_script(main, "python -m training")
    assert end.value.code == 2
    assert re.fullmatch(f"error: {message}\n", capsys.readouterr().err)


def test_the_command_that_was_stopped_says_so_and_is_not_done(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("training.loop.train", lambda *arguments, **options: False)
    with pytest.raises(typer.Abort):  # exit code 130, so that a script does not export what is half trained
        main("2c2f-mnist", output=tmp_path)
    assert capsys.readouterr().err == "stopped and saved: the same command with --resume goes on\n"
