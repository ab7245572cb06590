from __future__ import annotations

import pickle

import pytest

from bessai import errors
from bessai.errors import BessaiError


def subclasses(kind: type[BessaiError]) -> list[type[BessaiError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in subclasses(child))]


@pytest.mark.parametrize("kind", subclasses(BessaiError), ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling(kind: type[BessaiError]) -> None:
    error = kind("does not answer", field="sites[2].host", value="10.0.0.7", fix="check the cable")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.message, copy.field, copy.value, copy.fix) == (
        "does not answer",
        "sites[2].host",
        "10.0.0.7",
        "check the cable",
    )


@pytest.mark.parametrize(
    ("field", "value", "fix", "text"),
    [
        (None, None, None, "is wrong"),
        ("a.b", None, None, "a.b: is wrong"),
        ("a.b", "0", None, "a.b: is wrong; got 0"),
        ("a.b", "", "set 1", "a.b: is wrong; got ; set 1"),
        (None, None, "set 1", "is wrong; set 1"),
    ],
)
def test_text_names_field_value_and_fix(
    field: str | None, value: str | None, fix: str | None, text: str
) -> None:
    assert str(BessaiError("is wrong", field=field, value=value, fix=fix)) == text


def test_one_root_and_the_device_branch() -> None:
    public = [v for v in vars(errors).values() if isinstance(v, type)]
    assert all(issubclass(kind, BessaiError) for kind in public)
    for kind in (errors.DeviceTimeout, errors.DeviceBusy, errors.VerificationFailed):
        assert issubclass(kind, errors.DeviceError)
