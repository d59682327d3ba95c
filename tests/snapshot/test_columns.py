import pytest

from luigi_etl.common.errors import SettingError
from luigi_etl.snapshot.columns import find_columns, parse_columns

pytestmark = pytest.mark.libraries


def test_columns_are_chosen_and_ordered_by_api_name() -> None:
    columns = parse_columns(" complaint_id, state,has_narrative ")

    assert [column.label for column in columns] == ["Complaint ID", "State", "Has narrative?"]


@pytest.mark.parametrize("text", ["", " ", ","])
def test_default_columns_are_the_18_of_the_cfpb(text: str) -> None:
    assert len(parse_columns(text)) == 18
    assert "has_narrative" not in {column.field for column in parse_columns(text)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("complaint_id,compny", "no column 'compny'; did you mean 'company'"),
        ("Complaint ID", "no column 'Complaint ID'; did you mean 'complaint_id'"),
        ("xyz", "choose from date_received, product"),
        ("state,company,state", "named twice"),
    ],
)
def test_invalid_choice_of_columns_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse_columns(text)


def test_columns_are_found_by_their_labels() -> None:
    labels = [column.label for column in parse_columns("")]

    assert find_columns(labels) == parse_columns("")


def test_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="'state' is not a column"):
        find_columns(["Complaint ID", "state"])
