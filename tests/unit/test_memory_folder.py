from memory_folder import memory_folder

MORE_THAN_ANY_MACHINE_HAS_MB = 10**9


def test_a_folder_in_memory_is_named_only_where_it_has_room() -> None:
    assert memory_folder(MORE_THAN_ANY_MACHINE_HAS_MB) is None
