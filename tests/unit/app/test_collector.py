"""Numbers of the machine and of plugins beside those of requests."""

import pytest
from tests.fakes.places import place_plugin

from stead.app.collector import collectors, show
from stead.core.metrics import Metrics

MINE = '''
from stead.app.collector import Collector

class Mine(Collector):
    """Counts files of the data directory."""

    def read(self):
        return {"files": len(list(self.home.root.iterdir()))}
'''


@pytest.mark.spec("001-073")
def test_the_machine_and_an_enabled_file_are_shown_and_one_that_is_not_enabled_is_not(
    home, plugins
):
    for name in ("mine", "other"):
        place_plugin(home, "collector", name, MINE)
    plugins.enable("mine")
    plugins.load()
    metrics = Metrics()

    show(metrics, collectors(plugins, home))
    (home.root / "one-more").touch()

    text = metrics.render()
    count = len(list(home.root.iterdir()))
    assert f'stead_collected{{collector="mine",name="files"}} {count}' in text
    assert 'collector="machine",name="disk_free_bytes"' in text
    assert 'collector="other"' not in text
