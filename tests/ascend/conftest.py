import pytest
from standin import CannotBuildStandIn, build


@pytest.fixture(scope="session")
def standin_root():
    try:
        return build()
    except CannotBuildStandIn as error:
        pytest.skip(str(error))
