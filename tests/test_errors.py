from tlkit import errors


def test_lookup_errors_print_without_quotes():
    error = errors.UnknownPluginError("Unknown head 'x'.")
    assert str(error) == "Unknown head 'x'."
    assert isinstance(error, LookupError)
    assert not isinstance(error, KeyError)


def test_every_error_is_a_tlkit_error_with_an_exit_code():
    everything = [item for item in vars(errors).values() if isinstance(item, type)]
    kinds = [item for item in everything if item.__module__ == errors.__name__]
    assert len(kinds) > 5
    assert all(issubclass(item, errors.TlkitError) and item.exit_code in (1, 2) for item in kinds)


def test_what_goes_on_where_a_name_ends_comes_before_what_is_like_it_from_afar():
    keys = ["epochs", "fine_tune_epochs", "fine_tune_views"]
    assert errors.nearest("fine_tune", keys) == "fine_tune_epochs"
    assert errors.nearest("fine_tune_view", keys) == "fine_tune_views"
    assert errors.nearest("lr", ["labels", "fine_tune_learning_rate", "learning_rate"]) == (
        "learning_rate"
    )
    keys = ["mobilenet", "mobilenet_v2", "nasnet_mobile"]
    assert errors.nearest("MobileNetV2", keys) == "mobilenet_v2"
    assert errors.nearest("NASNetMobile", keys) == "nasnet_mobile"
    assert errors.nearest("x", ["units", "dropout"]) is None
    assert errors.nearest("mobilenet_v", ["mobilenet", "mobilenet_v2"]) == "mobilenet_v2"


def test_did_you_mean():
    assert errors.did_you_mean("mobilnet_v2", ["mobilenet_v2", "vgg16"]) == (
        " Did you mean 'mobilenet_v2'?"
    )
    assert errors.did_you_mean("zzz", ["mobilenet_v2"]) == ""
