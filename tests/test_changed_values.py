from tlkit.changed_values import changed_settings, changed_values

BEFORE = """
reporters = [{name = "rich"}]
[run]
name = "a"
seed = 0
save = ["keras"]
test_images = true
[workflow]
epochs = 4
"""


def test_settings_that_differ_are_named_with_both_values():
    now = BEFORE.replace("epochs = 4", "epochs = 5\nema = 0.9").replace("seed = 0", "")
    assert changed_settings(BEFORE, now) == [
        "run.seed was 0 and is not set",
        "workflow.ema was not set and is 0.9",
        "workflow.epochs was 4 and is 5",
    ]


def test_settings_that_no_figure_depends_on_are_passed_over():
    now = (
        BEFORE.replace('"rich"', '"plots"')
        .replace('"a"', '"b"')
        .replace('"keras"', '"h5"')
        .replace("true", "false")
    )
    assert now != BEFORE
    assert changed_settings(BEFORE, now) == []


def test_long_values_and_many_of_them_are_cut():
    (one,) = changed_values({"a": "x" * 1000}, {"a": 1})
    assert len(one) < 120
    many = changed_values({str(number): 0 for number in range(20)}, {})
    assert len(many) == 9
    assert many[-1] == "and 12 more"
