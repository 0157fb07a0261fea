from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest

from gluon_lambda.archive_store.signature import InputDeclaration
from gluon_lambda.errors import InputMismatch, MalformedBody
from gluon_lambda.services.tensors import from_json, from_npy, is_batch


def declared(*shape: int, dtype: str = "float32") -> InputDeclaration:
    return InputDeclaration("x", shape, dtype, {})


def npy(array: Any, **options: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"])
def test_numbers_become_the_declared_type(dtype: str) -> None:
    array = from_json([[1, 2], [3, 4]], declared(0, 2, dtype=dtype))

    assert array.dtype == dtype
    assert array.tolist() == [[1, 2], [3, 4]]


def test_true_and_false_are_for_inputs_of_bool_alone() -> None:
    assert from_json([True, False], declared(0, dtype="bool")).tolist() == [True, False]
    with pytest.raises(InputMismatch, match="a list with bool values"):
        from_json([True, False], declared(0))
    with pytest.raises(InputMismatch, match="a list with int64 values"):
        from_json([1, 0], declared(0, dtype="bool"))


def test_whole_floats_go_into_whole_number_inputs() -> None:
    assert from_json([1.0, -3.0], declared(0, dtype="int32")).tolist() == [1, -3]


WRONG: list[tuple[str, Any, str]] = [
    ("is ragged", [[1, 2], [3]], "float32"),
    ("is ragged", [[1, 2], 3], "float32"),
    ("a list with text", ["1", "2"], "float32"),
    ("a list with text", [1, "2"], "float32"),
    ("a text with text", "1, 2", "float32"),
    ("null, objects", [1, None], "float32"),
    ("null, objects", {"a": 1}, "float32"),
    ("null, objects", None, "float32"),
    ("beyond 64 bits", [2**70], "int64"),
    ("holds nan, which is not finite", [1.0, float("nan")], "float32"),
    ("holds inf, which is not finite", [float("inf")], "float64"),
    ("holds 1e+39, which is not finite", [1e39], "float32"),
    ("holds 70000, which is not finite", [70000], "float16"),
    ("holds 256, which it cannot hold", [1, 256], "uint8"),
    ("holds -1, which it cannot hold", [-1], "uint8"),
    ("holds 1.5, which it cannot hold", [1.0, 1.5], "int32"),
    ("holds 9223372036854775808, which it cannot hold", [2**63], "int64"),
    ("holds nan, which it cannot hold", [float("nan")], "int32"),
    ("holds 300, which it cannot hold", 300, "int8"),
]


@pytest.mark.parametrize(("message", "value", "dtype"), WRONG)
def test_what_the_type_does_not_hold_is_refused_with_the_input_and_what_is_expected(
    message: str, value: Any, dtype: str
) -> None:
    with pytest.raises(InputMismatch) as refused:
        from_json(value, declared(0, 2, dtype=dtype))

    assert message in str(refused.value)
    assert "'x'" in str(refused.value)
    assert f"expected: {dtype} numbers of shape [any, 2], or one example of shape [2]" in str(refused.value)


def test_lists_nested_beyond_what_an_array_has_are_refused() -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]

    with pytest.raises(InputMismatch):
        is_batch(from_json(value, declared(0, 2)), declared(0, 2))


@pytest.mark.parametrize(
    ("shape", "made"),
    [((1, 2), "batch"), ((5, 2), "batch"), ((2,), "example")],
)
def test_one_dimension_less_is_a_single_example(shape: tuple[int, ...], made: str) -> None:
    assert is_batch(np.zeros(shape), declared(0, 2)) is (made == "batch")


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3), (1, 1, 2), (0,)])
def test_any_other_shape_is_refused_with_what_came_and_what_is_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputMismatch) as refused:
        is_batch(np.zeros(shape), declared(0, 2))

    assert str(list(shape)) in str(refused.value)
    assert "[any, 2], or one example of shape [2]" in str(refused.value)


def test_a_batch_that_is_fixed_has_no_single_examples() -> None:
    assert is_batch(np.zeros((4, 2)), declared(4, 2))
    with pytest.raises(InputMismatch, match=r"of shape \[4, 2\]\.$"):
        is_batch(np.zeros(2), declared(4, 2))


def test_a_batch_declared_as_one_takes_one() -> None:
    assert is_batch(np.zeros((1, 2)), declared(1, 2))
    assert not is_batch(np.zeros(2), declared(1, 2))
    with pytest.raises(InputMismatch):
        is_batch(np.zeros((2, 2)), declared(1, 2))


def test_open_sizes_take_any_length_but_none() -> None:
    assert is_batch(np.zeros((1, 9)), declared(0, 0))
    assert not is_batch(np.zeros(9), declared(0, 0))
    with pytest.raises(InputMismatch):
        is_batch(np.zeros((1, 0)), declared(0, 0))


def test_a_file_of_numpy_is_read_in_its_own_byte_order_and_layout() -> None:
    array = np.arange(6, dtype=">f8").reshape(2, 3)

    assert from_npy(npy(np.asfortranarray(array)), declared(0, 3)).tolist() == array.tolist()


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1, 0.5, 0.99])
def test_a_truncated_file_of_numpy_is_refused(share: float) -> None:
    raw = npy(np.ones((50, 3)))

    with pytest.raises(MalformedBody, match="'x'"):
        from_npy(raw[: int(len(raw) * share)], declared(0, 3))


def test_a_pickle_is_not_read() -> None:
    with pytest.raises(MalformedBody, match=r"no readable \.npy file"):
        from_npy(npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), declared(0, 1))


def test_a_zip_of_numpy_is_not_taken_for_a_file_of_numpy() -> None:
    stream = BytesIO()
    np.savez(stream, np.ones(3))

    with pytest.raises(MalformedBody, match=r"does not start as numpy\.save writes it"):
        from_npy(stream.getvalue(), declared(0, 3))


def test_a_garbled_file_of_numpy_is_answered_or_refused_and_nothing_else() -> None:
    whole = npy(np.ones((2, 3), np.float32))
    for at in range(6, len(whole)):
        garbled = whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :]
        try:
            from_npy(garbled, declared(0, 3))
        except (MalformedBody, InputMismatch):
            continue


def test_structured_arrays_are_refused() -> None:
    with pytest.raises(InputMismatch, match="'x' is an array"):
        from_npy(npy(np.zeros(2, dtype=[("a", "f4")])), declared(0, 2))
