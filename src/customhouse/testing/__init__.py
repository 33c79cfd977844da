"""Fakes, hypothesis strategies and contract suites for other people's adapters. Imports core and _kit only.

May live here: what a test of an adapter needs and this project's own tests use too. May not: a plane, or anything that
the product itself runs. `strategies` needs hypothesis and the `*_contracts` modules need pytest; both are named when
they are missing. A contract suite is a class whose methods are tests; give it a fixture and it judges your adapter:

    from customhouse.testing.storage_contracts import StateStoreContract

    class TestMyStateStore(StateStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda: MyStateStore(tmp_path / "state.db")
"""
