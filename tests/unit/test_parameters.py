import pytest

from mnist_helpers import parameters


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", "1", 1.0),
        ("dataset", "digits", "digits"),
        ("dataset", "/any/folder", "/any/folder"),
        ("dataset", "~/folder", "~/folder"),
        ("dataset", ".", "."),
        ("data_dir", "", ""),
        ("num_train", "0", 0),
        ("run", "seed-3.b", "seed-3.b"),
    ],
)
def test_good_values_are_read_in_their_type(name, text, value):
    parsed = parameters.parse(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("epochs", "0", ["'epochs'", "a whole number from 1 to 10000", "Received: 0"]),
        ("epochs", "-3", ["Received: -3"]),
        ("epochs", "2.5", ["a whole number", "'2.5'"]),
        ("epochs", "many", ["'many'"]),
        ("epochs", "", ["''"]),
        ("epochs", "99999999", ["Received: 99999999"]),
        ("learning_rate", "nan", ["Received: nan"]),
        ("learning_rate", "inf", ["Received: inf"]),
        ("learning_rate", "0", ["Received: 0.0"]),
        ("dropout_rate", "1.0", ["from 0 to 0.95"]),
        ("seed", "0", ["from 1 to"]),
        (
            "dataset",
            "mnits",
            ["one of auto, mnist", "or a folder with the four idx", "Did you mean 'mnist'?"],
        ),
        ("dataset", "", ["or a folder", "Received: ''"]),
        ("profile", "a/folder", ["plain name"]),
        ("run", "../escape", ["plain name"]),
        ("run", ".hidden", ["plain name"]),
        ("run", "", ["plain name"]),
        ("run", "a/b", ["plain name"]),
        ("epoch", "3", ["Unknown parameter 'epoch'", "Did you mean 'epochs'?", "batch_size"]),
    ],
)
def test_wrong_values_are_refused_in_words(name, text, words):
    with pytest.raises(ValueError) as caught:
        parameters.parse(name, text)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", True), ("epochs", 2.0), ("dataset", None), ("seed", "1")]
)
def test_a_type_is_not_guessed(name, value):
    with pytest.raises(ValueError, match="wrong value"):
        parameters.check(name, value)


def test_the_parameters_of_a_notebook_are_found_by_name_and_checked():
    namespace = {"learning_rate": 1, "x_train": [1], "__name__": "__main__", "epochs": 2, "np": None}
    assert parameters.of_notebook(namespace) == {"epochs": 2, "learning_rate": 1.0}
    assert list(parameters.of_notebook(namespace)) == ["epochs", "learning_rate"]  # the table's order
    assert parameters.of_notebook({}) == {}
    with pytest.raises(ValueError, match="batch_size"):
        parameters.of_notebook({"epochs": 2, "batch_size": 0})


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_too_large_for_a_float_is_refused_as_any_other(value):
    with pytest.raises(ValueError, match="'learning_rate' has a wrong value"):
        parameters.check("learning_rate", value)


def test_a_whole_number_becomes_a_float_where_one_is_needed():
    assert isinstance(parameters.check("dropout_rate", 0), float)
    assert isinstance(parameters.check("epochs", 3), int)


@pytest.mark.parametrize("value", ["a\0b", "x" * 5000, ""])
def test_what_cannot_be_a_folder_is_not_a_dataset(value):
    with pytest.raises(ValueError, match="or a folder with the four idx files"):
        parameters.check("dataset", value)
